// The kinds of files that hold tensors, told by their first bytes, never by their names.
#pragma once

#include "weights/byte_source.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {

enum class ContainerKind { kSafetensors, kGguf, kTorchArchive, kIndex, kUnknown };

// kIndex: text of JSON. kSafetensors: anything with a plausible length of a header. Throws
// Error{kind of the source} when the file is empty or cannot be read.
ContainerKind container_kind(const ByteSource& source);

// The header of a file of any kind, unwrapped (weights/wrappers.h). Throws Error{kind of the
// source} naming what the file is when it is none of them (a legacy torch file, a Git LFS pointer,
// a web page).
ContainerHeader read_container(const ByteSource& source);

}  // namespace t2v::weights
