# Language, warnings, sanitizers, linker and compiler cache. Our targets link t2v_flags PRIVATE.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

set(t2v_warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast
    -Woverloaded-virtual
    -Wno-missing-field-initializers  # designated initialisers leave fields at their defaults on purpose
    -Wno-restrict)                   # false alarms of GCC 12 on std::string (GCC bug 105651)
set(t2v_cuda_host_warnings -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual)
list(JOIN t2v_cuda_host_warnings "," t2v_cuda_host_warnings)

add_library(t2v_flags INTERFACE)
target_compile_options(t2v_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${t2v_warnings}>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Wreorder;-Wext-lambda-captures-this;-Xcompiler=${t2v_cuda_host_warnings}>")

foreach(language CXX CUDA)
  set(CMAKE_${language}_FLAGS_RELEASE "-O3 -DNDEBUG")
endforeach()

if(T2V_SANITIZE)
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${T2V_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=${T2V_SANITIZE})
endif()
if(T2V_PROFILE)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-g> $<$<COMPILE_LANGUAGE:CUDA>:-lineinfo>)
  add_compile_definitions(T2V_PROFILE)
endif()

# A quick linker where there is one. Not Debian 12's mold 1.10: the read-only-after-relocation segment that it writes can
# begin in a page that is not mapped, by chance of a binary's size, and the program does not start then.
if(NOT T2V_SANITIZE)
  find_program(T2V_LLD ld.lld)
  if(T2V_LLD)
    add_link_options(-fuse-ld=lld)
  endif()
endif()

# A compiler cache where there is one. The sloppiness is what ccache asks for with precompiled headers.
find_program(T2V_CCACHE ccache)
if(T2V_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(t2v_launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} ${T2V_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${t2v_launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${t2v_launcher})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
  endif()
endif()
