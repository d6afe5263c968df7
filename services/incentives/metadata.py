"""The one MetaData of the incentives service and its transport tables."""

from shared.db.tables import service_metadata, transport_tables

metadata = service_metadata("incentives")
transport = transport_tables(metadata)
