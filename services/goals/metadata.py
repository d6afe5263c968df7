"""The one MetaData of the goals service and its transport tables."""

from shared.db.tables import service_metadata, transport_tables

metadata = service_metadata("goals")
transport = transport_tables(metadata)
