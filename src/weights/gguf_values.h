// The key-value pairs at the start of a GGUF file. Used by gguf.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weights/source_cursor.h"

namespace t2v::weights {

struct GgufValues {
  std::map<std::string, std::string> text;  // by key
  // `comfy.gguf.orig_shape.<tensor>`, by tensor: a shape that the file's dimensions stand for.
  std::map<std::string, std::vector<int64_t>> original_shapes;
  int64_t alignment = 32;  // of tensor data, bytes; `general.alignment`
};

// Reads `count` pairs. Throws through cursor.refuse() naming the key.
GgufValues read_gguf_values(SourceCursor& cursor, uint64_t count);

// u64 length and bytes: not empty, at most max_bytes, no control bytes. what: for messages.
std::string take_gguf_name(SourceCursor& cursor, uint64_t max_bytes, const char* what);

}  // namespace t2v::weights
