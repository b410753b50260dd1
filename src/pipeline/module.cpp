// Entry point of libt2v_engine.so (core/module.h).
#include "t2v/engine.h"

extern "C" __attribute__((visibility("default"))) t2v::Engine* t2v_create_engine(
    const t2v::EngineOptions& options) {
  return t2v::open_engine(options).release();
}
