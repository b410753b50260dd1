// The letters of --watermark TEXT: a bitmap font of our own for Latin text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace t2v::media {

inline constexpr int kGlyphColumns = 5;
inline constexpr int kGlyphAbove = 3;  // rows for accents
inline constexpr int kGlyphBody = 7;   // rows of a capital
inline constexpr int kGlyphRows = 12;  // with two rows for descenders

// Rows from the top; the leftmost column is the highest of five bits.
using Glyph = std::array<uint8_t, kGlyphRows>;

// mark: a combining accent of the letter, 0 = none. Nothing when the font cannot draw it.
std::optional<Glyph> find_glyph(int32_t letter, int32_t mark);

}  // namespace t2v::media
