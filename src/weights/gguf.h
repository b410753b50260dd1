// The GGUF container (versions 2 and 3): header parsing with full validation. No tensor data is
// read here.
#pragma once

#include "weights/byte_source.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

// Tensors with their row-major shapes (`comfy.gguf.orig_shape.<name>` applied) and the key-value
// pairs as text; long arrays as "[STRING x 256384]". At most 100,000,000 bytes of header; names are
// unique and without control bytes, ranges lie inside the file and do not overlap. Throws
// Error{kind of the source} naming file and tensor, also for types that are not read (IQ4_XS, ...).
ContainerHeader read_gguf_header(const ByteSource& source);

}  // namespace t2v::weights
