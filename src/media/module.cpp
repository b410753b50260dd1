// The one symbol that open_media() looks up in libt2v_media.so.
#include "media/create_media.h"

extern "C" {
__attribute__((visibility("default"))) t2v::media::Media* t2v_create_media();
t2v::media::Media* t2v_create_media() { return t2v::media::create_media().release(); }
}
