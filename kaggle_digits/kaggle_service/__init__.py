"""Kaggle: its own client behind one door; nothing else imports `kaggle` or `kagglesdk`."""
