"""The options of all commands are those of options.json, so that a new option or another name is a decision."""

import json
import os
from pathlib import Path

from charrnn.cli.app import COMMANDS, load_command
from charrnn.cli.parameters import command_parameters

from .conftest import UPDATE

OPTIONS = Path(__file__).with_name("options.json")


def test_the_commands_have_the_listed_options():
    parameters = {name: command_parameters(load_command(name)) for name in COMMANDS}
    options = {name: sorted(flag for each in members for flag in each.flags) for name, members in parameters.items()}
    if UPDATE in os.environ:
        OPTIONS.write_text(json.dumps(options, indent=1) + "\n")
    assert options == json.loads(OPTIONS.read_text()), f"if the change is intended: {UPDATE}=1 pytest -n 0 {__file__}"
