"""A search over processes and machines, on Keras Tuner's own chief and clients (gRPC).

The chief serves its coordinator through Keras Tuner's `OracleServicer`; workers ask it through
`OracleClient`. What Keras Tuner's protocol has no field for travels as text in a trial's values:
the unit of work on the way out, the result on the way back. Keras Tuner knows no death of a worker;
here a worker reports every second by `update_trial`, and work nobody reports on is handed out
again. The answer to a report says whether the result is still wanted.

The connection is neither encrypted nor authenticated, as Keras Tuner's is not: use it within a
trusted network.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from kaggle_digits.core import hardware
from kaggle_digits.ground.errors import ArtefactError, ConfigurationError, KaggleDigitsError
from kaggle_digits.ground.progress import Progress
from tuning.budget import CutError, Watched
from tuning.coordination import Coordinator
from tuning.scoring import Result, Scorer, ScoringSettings, Unit

LEASE_SECONDS = 20.0
REPORT_SECONDS = 1.0
_PATIENCE_SECONDS = 600.0
_IDLE_SECONDS = 0.3
_FAREWELL_SECONDS = 5.0
_UNIT = "kaggle-digits/unit"
_RESULT = "kaggle-digits/result"
_THREADS = 8


def parse_address(text: str, option: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`.

    Raises:
        ConfigurationError: It is none.
    """
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigurationError(
            f"{option} was given as {text!r}; expected HOST:PORT.",
            mend="Write it like 10.0.0.5:7000.",
        )
    return host, int(port)


class Chief:
    """What Keras Tuner's servicer asks: a coordinator behind an oracle's methods.

    Args:
        coordinator: Whose work is handed out.
        about: What every worker must agree on (data) and needs to know (scoring settings).
    """

    def __init__(self, coordinator: Coordinator, about: dict[str, Any]) -> None:
        self._coordinator = coordinator
        self._about = about
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}

    def create_trial(self, tuner_id: str) -> Any:
        """Hand out work, or say that there is none now (IDLE) or for good (STOPPED)."""
        unit = self._coordinator.take(tuner_id)
        self._see(tuner_id)
        if unit is not None:
            return _trial(unit.key, "RUNNING", {_UNIT: json.dumps(self._about | unit.to_json())})
        if not self._coordinator.is_over:
            return _trial("", "IDLE", {})
        self._forget(tuner_id)
        return _trial("", "STOPPED", {})

    def update_trial(self, trial_id: str, metrics: Any, step: int = 0) -> Any:
        """Take a worker's report; STOPPED says that its work is not wanted any more."""
        # Keras Tuner's message has no field for the worker: it is part of the trial's name here.
        key, _, worker = trial_id.partition("@")
        self._see(worker)
        wanted = self._coordinator.renew(key, worker)
        return _trial(trial_id, "RUNNING" if wanted else "STOPPED", {})

    def end_trial(self, trial: Any) -> None:
        """Take a result."""
        values = trial.hyperparameters.values
        unit = Unit.from_json(_without(json.loads(values[_UNIT]), self._about))
        self._coordinator.give(unit, decode(values[_RESULT]))

    def wait_for_farewells(self) -> None:
        """Give workers the time to hear that the search is over."""
        until = time.monotonic() + _FAREWELL_SECONDS
        while time.monotonic() < until:
            with self._lock:
                recent = [t for t in self._seen.values() if t > time.monotonic() - LEASE_SECONDS]
            if not recent:
                return
            time.sleep(0.05)

    def _see(self, worker: str) -> None:
        with self._lock:
            self._seen[worker] = time.monotonic()

    def _forget(self, worker: str) -> None:
        with self._lock:
            self._seen.pop(worker, None)


@contextmanager
def serving(chief: Chief, host: str, port: int) -> Iterator[int]:
    """Serve a chief while the block runs; yield the port, for 0 a free one.

    Raises:
        ConfigurationError: The address cannot be served.
    """
    hardware.prepare()
    from concurrent import futures

    import grpc  # type: ignore[import-untyped]
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    server = grpc.server(
        futures.ThreadPoolExecutor(_THREADS),
        # Of two chiefs on one port the second must fail; a result may be longer than 4 MB.
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
    )
    protos.get_service_grpc().add_OracleServicer_to_server(OracleServicer(chief), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        bound = 0
        cause: Exception | None = error
    else:
        cause = None
    if not bound:
        raise ConfigurationError(
            f"--chief was given as {host}:{port}, which cannot be served (in use, or not an "
            "address of this machine).",
            mend="Give another port, or 0.0.0.0 for every address of this machine.",
        ) from cause
    server.start()
    try:
        yield bound
    finally:
        server.stop(grace=1.0).wait()


class Worker:
    """One process that does a chief's work until there is none left.

    Args:
        host: The chief's.
        port: The chief's.
        name: Names this worker; no other has the same name.
        data_digest: The data here, which must be the chief's.
        make_scorer: Makes what trains, from the chief's settings.
        progress: Told of the work.
        patience: Seconds to wait for a chief that does not answer: it may be restarted.
    """

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        data_digest: str,
        make_scorer: Callable[[ScoringSettings], Scorer],
        progress: Progress,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._address = f"{host}:{port}"
        self._name = name
        self._data_digest = data_digest
        self._make_scorer = make_scorer
        self._progress = progress
        self._patience = patience
        self._scorer: Scorer | None = None
        self._client = _client(host, port, name)

    def work(self) -> int:
        """Work until the chief has no more; return how many units were done.

        Raises:
            ArtefactError: The chief's search is on other data.
            KaggleDigitsError: No chief answers.
        """
        done = 0
        while True:
            trial = self._ask(lambda: self._client.create_trial(self._name))
            if trial.status == "STOPPED":
                return done
            if trial.status == "IDLE":
                time.sleep(_IDLE_SECONDS)
                continue
            done += self._do(trial)

    def _do(self, trial: Any) -> bool:
        given = json.loads(trial.hyperparameters.values[_UNIT])
        data, settings = given.pop("data"), ScoringSettings(**given.pop("scoring"))
        if data != self._data_digest:
            raise ArtefactError(
                f"The chief at {self._address} searches on data with digest {data}; the data here "
                f"have {self._data_digest}.",
                mend="Give both the same files with --data.",
            )
        unit = Unit.from_json(given)
        if self._scorer is None:
            self._scorer = self._make_scorer(settings)
        unwanted = threading.Event()
        with self._reporting(trial.trial_id, unwanted):
            try:
                result = self._scorer.run(unit, Watched(self._progress, unwanted.is_set))
            except CutError:
                return False
            except KaggleDigitsError as error:
                result = Result(None, error.message)
        trial.hyperparameters.values[_RESULT] = encode(result)
        trial.status = "COMPLETED"
        self._ask(lambda: self._client.end_trial(trial))
        result.drop_checkpoints()
        return True

    @contextmanager
    def _reporting(self, key: str, unwanted: threading.Event) -> Iterator[None]:
        ended = threading.Event()

        def report() -> None:
            while not ended.wait(REPORT_SECONDS):
                try:
                    answer = self._client.update_trial(f"{key}@{self._name}", {"alive": 1.0})
                except Exception:  # noqa: S112  the chief is away; the result is wanted all the same
                    continue
                if answer.status == "STOPPED":
                    unwanted.set()

        thread = threading.Thread(target=report, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(REPORT_SECONDS)

    def _ask(self, call: Callable[[], Any]) -> Any:
        import grpc

        until = time.monotonic() + self._patience
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                if time.monotonic() > until:
                    raise KaggleDigitsError(
                        f"No chief answered at {self._address} for {self._patience:.0f} s "
                        f"({error.code().name}).",
                        mend="Start one with `kaggle-digits tune --chief HOST:PORT`.",
                    ) from None
                time.sleep(_IDLE_SECONDS)


def encode(result: Result) -> str:
    """Return a result as text that `decode` makes the same result of."""
    held_out = result.held_out
    packed = None
    if held_out is not None:
        raw = zlib.compress(np.ascontiguousarray(held_out, "<f4").tobytes(), 1)
        packed = {"shape": held_out.shape, "bytes": base64.b64encode(raw).decode()}
    return json.dumps(
        {
            "held_out": packed,
            "reason": result.reason,
            "seconds": result.seconds,
            "history": result.history,
        }
    )


def decode(text: str) -> Result:
    """Return the result of `encode`'s text."""
    values = json.loads(text)
    held_out, packed = None, values["held_out"]
    if packed is not None:
        raw = zlib.decompress(base64.b64decode(packed["bytes"]))
        held_out = np.frombuffer(raw, "<f4").reshape(packed["shape"]).astype(np.float32)
    return Result(held_out, values["reason"], values["seconds"], tuple(values["history"]))


def _client(host: str, port: int, name: str) -> Any:
    hardware.prepare()
    from keras_tuner.src.distribute import oracle_client

    # How long one call waits; `Worker._ask` waits longer by asking again.
    oracle_client.TIMEOUT = 5
    os.environ["KERASTUNER_ORACLE_IP"] = host
    os.environ["KERASTUNER_ORACLE_PORT"] = str(port)
    os.environ["KERASTUNER_TUNER_ID"] = name
    return oracle_client.OracleClient(oracle=None)


def _trial(key: str, status: str, values: dict[str, str]) -> Any:
    import keras_tuner
    from keras_tuner.engine.trial import Trial

    parameters = keras_tuner.HyperParameters()
    parameters.values = dict(values)
    return Trial(parameters, trial_id=key, status=status)


def _without(values: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
