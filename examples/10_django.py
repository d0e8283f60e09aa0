"""Django: enqueue when the transaction has committed, and give connections back after each task.

A worker:        taskq dev 10_django:app
The site:        pip install 'django<6', then    python 10_django.py
                 (or as a site: python 10_django.py runserver)

In a project the settings are in settings.py; the app and its tasks in a module that calls django.setup() first.
"""

# Django brings no types: a project has django-stubs for them, and needs neither this line nor the comment at Order.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from functools import partial
from typing import Any

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import close_old_connections, connection, models, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from taskq import TaskQ, around

settings.configure(
    SECRET_KEY="only-for-this-example",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("BOOKSHOP_DB", "bookshop.sqlite3"),
            "OPTIONS": {"timeout": 20},
            "CONN_MAX_AGE": 60,
        }
    },
)
django.setup()

app = TaskQ("bookshop")


class Order(models.Model):  # type: ignore[misc]
    title = models.CharField(max_length=200)
    receipt = models.CharField(max_length=200, default="")

    class Meta:
        app_label = "bookshop"


@app.middleware("execute")
@around
def database_connections(request: Any) -> Generator[None]:
    """What Django does around each request, around each task: drop connections that are broken or too old."""
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()


@app.task(queue="receipts")
def write_receipt(order_id: int) -> str:
    order = Order.objects.get(pk=order_id)
    order.receipt = f"one copy of {order.title}"
    order.save(update_fields=["receipt"])
    return str(order.receipt)


def place(request: HttpRequest) -> JsonResponse:
    """Only a committed order gets a receipt: a worker can see no other, and after a rollback nothing is enqueued."""
    with transaction.atomic():
        order = Order.objects.create(title=request.GET["title"])
        transaction.on_commit(partial(write_receipt.enqueue, order.pk))
        if "oops" in request.GET:
            raise ValueError("the order is rolled back")
    return JsonResponse({"order": order.pk})


urlpatterns = [path("order", place)]


def create_table() -> None:
    """Instead of a migration."""
    if Order._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Order)


if __name__ == "__main__":
    create_table()
    if len(sys.argv) > 1:
        execute_from_command_line(sys.argv)
        sys.exit()

    from django.test import Client

    client = Client(raise_request_exception=False)
    print(client.get("/order", {"title": "Dune"}).json())
    print("rolled back:", client.get("/order", {"title": "Emma", "oops": "1"}).status_code)
    # The view kept no handle; ask the task itself for the receipt of the first order.
    print(write_receipt.enqueue(Order.objects.get(title="Dune").pk).result(timeout=30))
    print(f"{Order.objects.count()} order, receipt: {Order.objects.get(title='Dune').receipt!r}")
