// The C library of the C2PA project (libc2pa_c.so), loaded when a video is to be signed.
#pragma once

#include <cstdint>
#include <string>

namespace t2v::media {

// Objects of the library.
struct C2paStream;
struct C2paSigner;
struct C2paBuilder;

// Functions of the library that t2v calls, with the library's own names and types.
struct C2paLibrary {
  using ReadFn = intptr_t (*)(void* context, uint8_t* bytes, intptr_t size);
  using SeekFn = intptr_t (*)(void* context, intptr_t offset, int mode);
  using WriteFn = intptr_t (*)(void* context, const uint8_t* bytes, intptr_t size);
  using FlushFn = intptr_t (*)(void* context);
  struct SignerInfo {
    const char* algorithm;    // "es256" ...
    const char* certificate;  // PEM, chain
    const char* private_key;  // PEM
    const char* time_stamp_url;
  };

  char* (*error)();
  void (*string_free)(char*);
  C2paStream* (*create_stream)(void* context, ReadFn, SeekFn, WriteFn, FlushFn);
  void (*release_stream)(C2paStream*);
  C2paSigner* (*signer_from_info)(const SignerInfo*);
  void (*signer_free)(C2paSigner*);
  C2paBuilder* (*builder_from_json)(const char*);
  void (*builder_free)(C2paBuilder*);
  int64_t (*builder_sign)(C2paBuilder*, const char* format, C2paStream* source, C2paStream* target,
                          C2paSigner*, const unsigned char** manifest);
  void (*manifest_bytes_free)(const unsigned char*);
};

// path: the file to load; "" = from beside t2v's own libraries, else from where the system's loader
// looks. Stays loaded. Throws Error{kUsage} that says how to get it.
const C2paLibrary& open_c2pa_library(const std::string& path);

}  // namespace t2v::media
