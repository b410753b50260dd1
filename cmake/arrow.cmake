# Sets T2V_HAS_S3; with it t2v::arrow is Arrow's C++ library out of the pyarrow package.

set(T2V_HAS_S3 OFF)
if(T2V_S3 STREQUAL "OFF")
  return()
endif()

set(t2v_arrow ${T2V_ARROW})
if(NOT t2v_arrow)
  file(GLOB t2v_installed ${PROJECT_SOURCE_DIR}/.deps/lib/python3*/site-packages/pyarrow)
  list(POP_BACK t2v_installed t2v_arrow)
endif()
file(GLOB T2V_ARROW_LIBRARY ${t2v_arrow}/libarrow.so.*)
if(EXISTS ${t2v_arrow}/include/arrow/filesystem/s3fs.h AND EXISTS "${T2V_ARROW_LIBRARY}")
  set(T2V_HAS_S3 ON)
elseif(T2V_S3 STREQUAL "AUTO")
  message(STATUS "t2v: no Arrow, so no s3:// (T2V_S3=AUTO); `make setup` fetches it")
  return()
else()
  message(FATAL_ERROR "T2V_S3=ON, but there is no Arrow in '${t2v_arrow}'; run `make setup`, or name"
                      " an installed pyarrow package with -DT2V_ARROW=DIR")
endif()

get_filename_component(t2v_arrow_soname ${T2V_ARROW_LIBRARY} NAME)
add_library(t2v::arrow SHARED IMPORTED GLOBAL)
set_target_properties(t2v::arrow PROPERTIES
  IMPORTED_LOCATION ${T2V_ARROW_LIBRARY}
  IMPORTED_SONAME ${t2v_arrow_soname}
  INTERFACE_INCLUDE_DIRECTORIES ${t2v_arrow}/include)
message(STATUS "t2v: Arrow in ${t2v_arrow}")
