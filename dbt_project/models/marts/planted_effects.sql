{{ union_of_sources() }}
