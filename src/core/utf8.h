// UTF-8 well-formedness (Unicode 15, table 3-7).
#pragma once

#include <cstddef>
#include <string_view>

namespace t2v::core {

// Length in bytes (1-4) of the well-formed sequence at the start of text; 0 if there is none.
size_t utf8_sequence_length(std::string_view text) noexcept;

// Offset of the first byte that is not part of a well-formed sequence; npos if all is well.
size_t find_invalid_utf8(std::string_view text) noexcept;

}  // namespace t2v::core
