"""`lab COMMAND ...`: finds the command, and turns what users can mend into one line and exit code 2."""

import errno
import importlib
import os
import re
import signal
import sys
import warnings
from importlib.metadata import version
from types import FrameType

ROW = r"\brow \d+ (is|has|of|ends)\b"  # how messages name one
COMMANDS = {
    "demo": "the whole story on CartPole, in about a minute",
    "train": "an agent learns on an environment, or a model on data",
    "resume": "a run that was stopped or killed goes on, bit by bit",
    "evaluate": "an agent plays episodes, a model meets test rows, a detector labelled ones",
    "compare": "sets of runs side by side, with intervals over their seeds",
    "generate": "samples of a model, as a picture and as numbers",
    "fit": "a detector learns what normal is, or a trained model is calibrated",
    "score": "one score, p-value and flag for each row of a file",
    "explain": "what makes a row strange, beside the nearest normal row",
    "monitor": "a monitor that knows when an agent's world has changed: fitted, calibrated, tried",
    "watch": "an agent plays an episode, the monitor beside it, with a fault or without",
    "report": "one page of how runs went",
    "list": "what was run, and how it went",
}


MACHINE = {  # what a machine runs out of or does not allow; any other error of its is a bug
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}


def main() -> None:
    """Runs the command that `sys.argv` asks for."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        print(f"lab {version('rl-generative-lab')}")
        return
    if words[0] not in COMMANDS:
        _fail(f"the command is {words[0]!r}, expected one of {', '.join(COMMANDS)}")
    warnings.showwarning = _warn
    before = signal.signal(signal.SIGINT, _leave)
    from training.errors import DivergenceError, InputError

    command = importlib.import_module(f"lab.commands.{words[0]}")
    signal.signal(signal.SIGINT, before)
    try:
        command.main(words[1:])
    except InputError as error:
        _fail(str(error))
    except DivergenceError as error:
        _fail(str(error), code=1)
    except KeyboardInterrupt:  # before or after learning, which ends at a checkpoint
        _fail("interrupted", code=130)
    except BrokenPipeError:  # `lab ... | head`: nobody reads on, and there is nothing to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        _fail(str(error), code=1)  # what was written before is whole


def _leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C while torch is being imported, which does not take it well; nothing has begun."""
    print("lab: interrupted", file=sys.stderr)
    os._exit(130)


def _warn(message: Warning | str, *where: object, **more: object) -> None:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(message))  # Gymnasium colours its warnings
    print(f"lab: warning: {' '.join(plain.split())}", file=sys.stderr)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  lab {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: lab COMMAND ...  (lab COMMAND --help tells more)", "", *lines])


def _fail(message: str, code: int = 2) -> None:
    counted = " (rows are counted from 0)" if re.search(ROW, message) else ""
    print(f"lab: {' '.join(message.split())}{counted}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
