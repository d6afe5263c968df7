"""Goal templates as things that are made, changed and deleted; what one fills in is a matter of goals."""

from shared.kernel.errors import NotFound


class TemplateNotFound(NotFound):
    """There is no such goal template, or it was deleted."""

    code = "goal_template_not_found"
    title = "Goal template not found"
