"""For each instrumenter: how to install and uninstall it, and how to read its spans, all in memory."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

#: Nothing listens there.
NOWHERE = "http://127.0.0.1:9"


def written(value: Any) -> str:
    """Return what a span has as one text, apart from escapes of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)


class Instrumenter:
    """
    One row of the table. ``can_uninstall``: whether the instrumenter can be uninstalled.

    ``said``: what the spans of the last ``take()`` say, as text.
    """

    can_uninstall = True
    said = ""

    def install(self) -> None: ...

    def uninstall(self) -> None: ...

    def wrap(self, client: Any) -> Any:
        return client

    def around(self) -> AbstractContextManager[Any]:
        """Return the context manager that a call must run in, so that its spans are kept."""
        return nullcontext()

    def take(self) -> list[str]:
        """Return the names of the spans that ended since the last call."""
        raise NotImplementedError


class Exported(Instrumenter):
    """An instrumenter whose spans an exporter of OpenTelemetry keeps."""

    exporter: Any

    def take(self) -> list[str]:
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        self.said = written([[dict(each.attributes) for each in (span, *span.events)] for span in spans])
        return [span.name for span in spans]


class OpenTelemetry(Exported):
    """Any instrumenter with OpenTelemetry's own interface."""

    def __init__(self, module: str) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self._instrumentor = import_module(module).OpenAIInstrumentor()

    def install(self) -> None:
        self._instrumentor.instrument(tracer_provider=self.provider)

    def uninstall(self) -> None:
        self._instrumentor.uninstrument()


class Logfire(Exported):
    def __init__(self) -> None:
        import logfire
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        logfire.configure(
            send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(self.exporter)]
        )

    def install(self) -> None:
        import logfire

        self._installed = logfire.instrument_openai()

    def uninstall(self) -> None:
        with self._installed:
            pass


class Langfuse(Exported):
    can_uninstall = False

    def __init__(self) -> None:
        from langfuse import Langfuse as Client
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        self._client = Client(public_key="pk", secret_key="sk", base_url=NOWHERE, span_exporter=self.exporter)

    def install(self) -> None:
        import_module("langfuse.openai")

    def take(self) -> list[str]:
        self._client.flush()
        return super().take()


class LangSmith(Instrumenter):
    can_uninstall = False

    def __init__(self) -> None:
        os.environ["LANGSMITH_TRACING"] = "true"
        from langsmith import Client

        runs = self._runs = []
        outputs = self._outputs = []

        class Memory(Client):
            def create_run(self, name: str, *args: Any, **kwargs: Any) -> None:
                runs.append(name)

            def update_run(self, *args: Any, **kwargs: Any) -> None:
                outputs.append(kwargs)

        self._client = Memory(api_url=NOWHERE, api_key="key", auto_batch_tracing=False)

    def wrap(self, client: Any) -> Any:
        from langsmith.wrappers import wrap_openai

        return wrap_openai(client, tracing_extra={"client": self._client})

    def take(self) -> list[str]:
        runs, self.said = list(self._runs), written(self._outputs)
        self._runs.clear()
        self._outputs.clear()
        return runs


class Sentry(Instrumenter):
    can_uninstall = False

    def __init__(self) -> None:
        self._spans: list[tuple[str, Any]] = []

    def install(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.openai import OpenAIIntegration
        from sentry_sdk.transport import Transport

        kept = self._spans

        class Memory(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                # Some spans arrive in their transaction, others as items of their own.
                event = envelope.get_transaction_event() or {}
                spans = [(span["op"], span) for span in event.get("spans", [])]
                for item in envelope.items:
                    if item.type == "span":
                        spans += [
                            (span["attributes"]["sentry.op"]["value"], span) for span in item.payload.json["items"]
                        ]
                kept.extend(span for span in spans if span[0].startswith("gen_ai"))

        sentry_sdk.init(
            dsn="http://key@127.0.0.1:9/1",
            transport=Memory,
            traces_sample_rate=1.0,
            auto_enabling_integrations=False,
            integrations=[OpenAIIntegration()],
        )

    def around(self) -> AbstractContextManager[Any]:
        import sentry_sdk

        return sentry_sdk.start_transaction(name="check")

    def take(self) -> list[str]:
        import sentry_sdk

        sentry_sdk.flush(1)
        names, self.said = [name for name, _ in self._spans], written(self._spans)
        self._spans.clear()
        return names


class Datadog(Instrumenter):
    def __init__(self) -> None:
        os.environ.update(
            DD_TRACE_AGENT_URL=NOWHERE,
            DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
            DD_REMOTE_CONFIGURATION_ENABLED="false",
            DD_TRACE_STARTUP_LOGS="false",
        )
        from ddtrace.trace import TraceFilter, tracer

        spans = self._spans = []

        class Memory(TraceFilter):
            def process_trace(self, trace: Any) -> None:
                spans.extend(trace)

        tracer.configure(trace_processors=[Memory()])

    def install(self) -> None:
        from ddtrace import patch

        patch(openai=True)

    def uninstall(self) -> None:
        import_module("ddtrace.contrib.internal.openai.patch").unpatch()

    def take(self) -> list[str]:
        names = [span.name for span in self._spans]
        self.said = written([[span.get_tags(), span.get_metrics()] for span in self._spans])
        self._spans.clear()
        return names


class MLflow(Instrumenter):
    def __init__(self) -> None:
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false")
        import mlflow

        self._folder = tempfile.TemporaryDirectory()
        mlflow.set_tracking_uri(f"sqlite:///{self._folder.name}/traces.db")
        self._seen: set[str] = set()

    def install(self) -> None:
        import_module("mlflow.openai").autolog()

    def uninstall(self) -> None:
        import_module("mlflow.openai").autolog(disable=True)

    def take(self) -> list[str]:
        import mlflow

        mlflow.flush_trace_async_logging()
        traces = [trace for trace in mlflow.search_traces(return_type="list") if trace.info.trace_id not in self._seen]
        self._seen.update(trace.info.trace_id for trace in traces)
        spans = [span for trace in traces for span in trace.data.spans]
        self.said = written([[span.outputs, span.attributes] for span in spans])
        return [span.name for span in spans]


def named(name: str) -> Instrumenter:
    """Return the adapter for a row of the table."""
    own = {
        "logfire": Logfire,
        "langfuse": Langfuse,
        "langsmith": LangSmith,
        "sentry": Sentry,
        "ddtrace": Datadog,
        "mlflow": MLflow,
    }
    modules = {
        "openai-v2": "opentelemetry.instrumentation.openai_v2",
        "genai-openai": "opentelemetry.instrumentation.genai.openai",
        "openinference": "openinference.instrumentation.openai",
        "traceloop": "opentelemetry.instrumentation.openai",
    }
    return own[name]() if name in own else OpenTelemetry(modules[name])
