"""Settings: how a person wants to be told what happens."""

import reflex as rx

from qlora_studio.components.bell import browser_switch
from qlora_studio.components.buttons import button
from qlora_studio.components.details import tabs
from qlora_studio.components.dialogs import delete_row_dialog, dialog, dialog_form, shown_once_dialog
from qlora_studio.components.feedback import empty_state, skeleton
from qlora_studio.components.forms import switch_field, text_field
from qlora_studio.components.shell import studio_page
from qlora_studio.components.surfaces import card, notice, page_header
from qlora_studio.contracts.notices import TOPICS
from qlora_studio.pages.account import TABS
from qlora_studio.state.notification_channels import ChannelRow, ChannelsState

_S = ChannelsState
_NO_MAIL = (
    "This server has no mail server to send by. Whoever runs it can name one with QLORA_STUDIO_SMTP_HOST."
)


@studio_page("/settings/notifications", title="Notification settings", section="settings", on_load=_S.load)
def settings() -> rx.Component:
    """Ways to be told beside the bell."""
    return rx.fragment(
        page_header(
            "Settings",
            "The bell tells you when a training or a long import ends. Choose here how else to be told.",
        ),
        tabs(TABS, current="notifications"),
        rx.el.div(
            card(browser_switch()),
            rx.cond(_S.is_loading, skeleton("h-24 !rounded-[10px]"), _email()),
            rx.cond(_S.is_loading, skeleton("h-48 !rounded-[10px]"), _webhooks()),
            class_name="flex flex-col gap-4 max-w-[760px]",
        ),
        _add_dialog(),
        shown_once_dialog(
            _S,
            "The webhook's secret",
            description="It is shown this once. With it the receiver checks that a message is from here: Standard Webhooks, header webhook-signature.",
            copy="Copy the secret",
        ),
        delete_row_dialog(_S, "webhook", body="Nothing is sent there any more, not even what waits to be."),
    )


def _email() -> rx.Component:
    title = rx.cond(_S.can_email, "By e-mail to " + _S.email, "By e-mail")
    switch = switch_field(
        title,
        name="email-switch",
        help="A short plain mail for each notification.",
        checked=_S.has_email_on,
        on_change=_S.set_email,
    )
    controls = rx.foreach(
        _S.rows, lambda row: rx.cond((row.kind == "email") & row.is_on, _controls(row), rx.fragment())
    )
    off = rx.fragment(
        rx.el.p("By e-mail", class_name="text-[15px] font-semibold leading-6 mb-2"), notice(_NO_MAIL)
    )
    return card(rx.cond(_S.can_email | _S.has_email, rx.fragment(switch, controls), off))


def _webhooks() -> rx.Component:
    webhooks = rx.el.ul(
        rx.foreach(_S.rows, lambda row: rx.cond(row.kind == "webhook", _webhook(row), rx.fragment())),
        class_name="list-none m-0 p-0 divide-y divide-border -mt-2",
    )
    return card(
        rx.cond(
            _S.has_webhook,
            webhooks,
            empty_state(
                "No webhooks yet",
                "A webhook sends each notification as a signed JSON document to an address of yours, such as a chat's.",
                icon="webhook",
            ),
        ),
        title="Webhooks",
        description="For chats, pagers and your own programs.",
        actions=button("Add webhook", icon="plus", on_click=_S.ask_add),
    )


def _webhook(row: ChannelRow) -> rx.Component:
    return rx.el.li(
        rx.el.div(
            rx.el.p(row.name, class_name="font-medium text-[13px] break-all min-w-0"),
            rx.el.input(
                type="checkbox",
                role="switch",
                checked=row.is_on,
                on_change=lambda value: _S.set_on(row.id, value),
                aria_label=rx.Var.create("Send to ") + row.name,
                class_name="switch shrink-0",
            ),
            class_name="flex items-start justify-between gap-4",
        ),
        _controls(row),
        key=row.id,
        class_name="py-4",
    )


def _controls(row: ChannelRow) -> rx.Component:
    """What is told over a channel, what happened last, a test, and for webhooks the way to remove it."""
    topics = [
        rx.el.label(
            rx.el.input(
                type="checkbox",
                checked=row.topics.contains(name),
                on_change=lambda value, name=name: _S.set_topic(row.id, name, value),
                class_name="h-4 w-4 accent-[var(--primary)] shrink-0",
            ),
            label,
            class_name="inline-flex items-center gap-2 text-[13px] cursor-pointer",
        )
        for name, (label, _) in TOPICS.items()
    ]
    return rx.el.div(
        rx.el.fieldset(
            rx.el.legend("Told of", class_name="text-xs text-muted-foreground mb-1.5"),
            rx.el.div(*topics, class_name="flex flex-wrap gap-x-5 gap-y-2"),
            class_name="min-w-0 mt-3",
        ),
        rx.el.div(
            _last(row),
            rx.el.div(
                button(
                    "Send a test",
                    icon="send",
                    size="sm",
                    loading=_S.testing_id == row.id,
                    on_click=_S.test(row.id),
                ),
                rx.cond(
                    row.kind == "webhook",
                    button("Remove", variant="danger", size="sm", on_click=_S.ask_delete(row.id)),
                    rx.fragment(),
                ),
                class_name="flex gap-2 shrink-0",
            ),
            class_name="flex flex-wrap items-center justify-between gap-3 mt-3",
        ),
    )


def _last(row: ChannelRow) -> rx.Component:
    return rx.el.p(
        row.status,
        title=row.exact,
        class_name=rx.cond(
            row.is_failing,
            "text-xs text-danger min-w-0 break-words",
            "text-xs text-muted-foreground min-w-0 break-words",
        ),
    )


def _add_dialog() -> rx.Component:
    return dialog(
        dialog_form(
            text_field(
                "Address",
                name="target",
                type="url",
                placeholder="https://example.org/hooks/studio",
                max_length=2000,
                auto_complete="off",
                help="A public server, on ports 80 or 443 unless this studio allows others. It must not redirect.",
                error=_S.field_errors.get("target", ""),
            ),
            label="Add webhook",
            on_submit=_S.add,
            on_cancel=_S.close,
        ),
        is_open=_S.dialog == "add",
        title="Add a webhook",
        description="Each notification is sent there as JSON, signed with a secret that you get next.",
        on_close=_S.close,
    )
