"""Steps of Ansible: tasks that do nothing on hosts that are all this machine.

`ansible_steps.py ANSIBLE-PLAYBOOK STEPS IN-FLIGHT CHAIN` prints tasks a second as JSON: `many`, on so many hosts at once, and
`chain`, one task after the other on one. Nothing of it is durable: a run that dies begins again.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

PLAYBOOK = "- hosts: all\n  connection: local\n  gather_facts: false\n  tasks:\n"
TASK = "    - ansible.builtin.ping:\n"


def run(playbook: str, hosts: int, tasks: int) -> float:
    """Tasks a second, without the start of the program: that of a playbook without tasks is taken off."""
    with tempfile.TemporaryDirectory() as place:
        inventory = os.path.join(place, "hosts.ini")
        with open(inventory, "w", encoding="utf-8") as file:
            python = f"ansible_python_interpreter={sys.executable}"
            file.writelines(f"h{number} {python}\n" for number in range(hosts))

        def timed(count: int) -> float:
            path = os.path.join(place, f"{count}.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write((PLAYBOOK + TASK * count) if count else PLAYBOOK.replace("  tasks:\n", ""))
            began = time.monotonic()
            command = [playbook, "-i", inventory, "-f", str(hosts), path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return time.monotonic() - began

        took = timed(tasks) - timed(0)
        return hosts * tasks / took


PLAYBOOK_PROGRAM = sys.argv[1]
STEPS, IN_FLIGHT, CHAIN = (int(argument) for argument in sys.argv[2:5])
MANY = run(PLAYBOOK_PROGRAM, IN_FLIGHT, max(1, STEPS // IN_FLIGHT))
print(json.dumps({"many": MANY, "chain": run(PLAYBOOK_PROGRAM, 1, CHAIN)}))
