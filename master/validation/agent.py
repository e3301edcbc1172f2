"""A1: what is wrong with an agent's description."""

from mesolite.errors import ResourceError
from mesolite.ids import AgentId, id_error
from mesolite.protocol import AgentInfo, RegisterAgent
from mesolite.resources import Resources

MAX_ATTRIBUTES = 1000
#: All of them travel with each offer.
MAX_ATTRIBUTE_CHARACTERS = 64 * 1024
#: Ours has 16 characters.
MAX_CHECKPOINT_ID_LENGTH = 255


def agent_error(agent_id: AgentId, info: AgentInfo) -> str | None:
    """Say what is wrong with an agent's description, or None."""
    if error := id_error(agent_id):
        return f"the agent id {error}"
    if info.agent_id != agent_id:
        return f"agent_info names {info.agent_id}, the sender is {agent_id}"
    if len(info.attributes) > MAX_ATTRIBUTES:
        return f"{len(info.attributes)} attributes; at most {MAX_ATTRIBUTES} are allowed"
    if sum(len(each.name) + len(each.text) for each in info.attributes) > MAX_ATTRIBUTE_CHARACTERS:
        return f"the attributes are over {MAX_ATTRIBUTE_CHARACTERS} characters, which is the limit"
    try:
        if not Resources.of(info.resources):
            return "the agent has no resources"
    except ResourceError as error:
        return f"the agent's resources: {error}"
    return None


def life_error(register: RegisterAgent) -> str | None:
    """Say what is wrong with what a registration says of the life that it comes from, or None."""
    if len(register.checkpoint_id) > MAX_CHECKPOINT_ID_LENGTH:
        return f"a checkpoint_id of {len(register.checkpoint_id)} characters; at most {MAX_CHECKPOINT_ID_LENGTH} are allowed"
    if register.incarnation < 0:
        return f"incarnation {register.incarnation}; the first is 1"
    return None
