"""The certificate authority of a mesh on Kubernetes: part of the controller that leads.

It is asked where reports go, with the same token. Its keys are in a Secret of the controller's
namespace, or in one that an operator provides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from aiohttp import web

from culvert.control.authority_secret import SecretStore
from culvert.control.bearer import Authenticator, calling_node
from culvert.control.node_pods import NodePods
from culvert.identity.authority import Lifetimes
from culvert.identity.issuing import add_issuing
from culvert.identity.provided_holder import ProvidedHolder
from culvert.identity.stored import StoredAuthority
from culvert.kube.client import KubeClient

LONGEST_LIFETIME = timedelta(days=7)
"""Of a certificate; a root that is replaced is handed out for so long."""


@dataclass(frozen=True, slots=True)
class ControllerAuthorityOptions:
    """``existing_secret`` is the operator's, in the controller's namespace; empty: there is none.

    A MeshConfig's trust domain goes before ``trust_domain``.
    """

    trust_domain: str
    certificate_lifetime: timedelta
    existing_secret: str = ""


def authority_secret(service: str) -> str:
    """Name of the Secret of the controller whose Service that is: its keys, and roots to trust."""
    return f"{service}-authority"


class ControllerAuthority:
    """The one of a leader; it begins with the leader and ends with it."""

    def __init__(
        self,
        api: KubeClient,
        namespace: str,
        service: str,
        options: ControllerAuthorityOptions,
        trust_domain: Callable[[], str | None],
    ) -> None:
        """``trust_domain`` gives what is in force, None while that is not known."""
        own = SecretStore(api, namespace, authority_secret(service))
        lifetimes = _lifetimes(options.certificate_lifetime)
        self._holder: StoredAuthority | ProvidedHolder
        if options.existing_secret:
            source = SecretStore(api, namespace, options.existing_secret)
            self._holder = ProvidedHolder(source, own, trust_domain, lifetimes)
        else:
            self._holder = StoredAuthority(own, trust_domain, lifetimes)
        self._pods = NodePods(api)

    def serve_beside(
        self,
        application: web.Application,
        authenticator: Authenticator,
        answered: Callable[[str], None],
    ) -> None:
        """Add what is asked of an authority to what the application serves."""
        node_of = partial(calling_node, authenticator=authenticator)
        add_issuing(application, self._holder, node_of, self._pods.accounts_on, answered)

    async def run(self) -> None:
        """Keep it ready. Ends only by cancellation."""
        await self._holder.run()


def _lifetimes(certificate: timedelta) -> Lifetimes:
    return Lifetimes(
        certificate=certificate,
        longest_certificate=LONGEST_LIFETIME,
        # Agents fetch the roots at least six times in the life of a certificate.
        spread=min(Lifetimes().spread, certificate / 2),
    )
