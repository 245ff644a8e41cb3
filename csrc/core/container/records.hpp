// Where records lie: end to end behind the preamble, in the order of what they belong to (docs/FORMAT.md,
// section 4).
#pragma once

#include <cstdint>
#include <vector>

#include "core/container/cursor.hpp"
#include "core/container/index.hpp"

namespace ternzip::container {

// Reads sizes and checksums of all records from the table, and gives entries, solid blocks (which it makes)
// and extensions theirs; they must end where the index begins. Throws FileError before memory is taken for
// more records than the file can hold.
void place_records(Cursor& table, std::uint64_t index_offset, Index& index);

// Sets each entry's share of the payload in bytes: its parameters and records, or its part of a solid block,
// by its raw size; codec parameters are shared evenly among their users. Shares are whole and add up.
void share_payload(Index& index);

}  // namespace ternzip::container
