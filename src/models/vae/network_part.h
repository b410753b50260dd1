// Parts of the decoder's network that can run on their own.
#pragma once

namespace t2v::models::vae {

// What runs: all, or in tiles the entry (conv_in and the mid block, whose attention sees the whole
// picture) and then the rest for each tile.
enum class NetworkPart { kWhole, kEntry, kRest };

}  // namespace t2v::models::vae
