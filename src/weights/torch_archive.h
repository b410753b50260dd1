// The torch archive (.pth, .pt of torch.save since 1.6): a ZIP of stored members, one of them a
// pickle that says what the others are. Read without executing anything.
#pragma once

#include "weights/byte_source.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

// The tensors of a state dict; of nested dicts those under `generator_ema`, `generator`, `model`,
// `state_dict` or `module`, whichever is first in this order. A file that is one bare tensor gives
// it the name "latents". Tensors must be contiguous; they may share memory. Throws Error{kind of
// the source} naming file and tensor.
ContainerHeader read_torch_archive(const ByteSource& source);

}  // namespace t2v::weights
