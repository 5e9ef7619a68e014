"""Where Weights & Biases would be logged to, by variables and files; no server is asked."""

import configparser
import netrc
import os
from pathlib import Path

SERVER = "https://api.wandb.ai"
MODES = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


def settings_of_files() -> dict[str, str]:
    """What `wandb offline` and `wandb login` have written, this folder's file before the user's."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser() / "settings"
    here = Path(os.environ.get("WANDB_DIR", ".")) / "wandb" / "settings"
    found: dict[str, str] = {}
    for path in (user, here):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):  # as wandb does: a damaged file says nothing
            continue
        found |= dict(parser.items("default")) if parser.has_section("default") else {}
    return found


def source_of_key(host: str, settings: dict[str, str]) -> str:
    """Where a key for a server would be taken from; empty where there is none. The key itself is never shown."""
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(variable):
            return variable
    path = netrc_file()
    try:
        entry = netrc.netrc(path).authenticators(host)
    except (netrc.NetrcParseError, OSError):
        entry = None
    if entry and entry[2]:
        return str(path)
    return "the settings file" if settings.get("api_key") else ""


def netrc_file() -> Path:
    """Where wandb keeps keys: $NETRC, ~/.netrc, or ~/_netrc where only that is there."""
    if os.environ.get("NETRC"):
        return Path(os.environ["NETRC"]).expanduser()
    usual, other = Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()
    return other if other.exists() and not usual.exists() else usual
