// The implementation behind Media, for the module and for tests.
#pragma once

#include <memory>

#include "media/media.h"

namespace t2v::media {

std::unique_ptr<Media> create_media();

}  // namespace t2v::media
