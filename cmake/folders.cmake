# Adds a folder of the project; its build folder stands under cmake/, beside the programs.

function(t2v_add_folder folder)
  add_subdirectory(${PROJECT_SOURCE_DIR}/${folder} ${PROJECT_BINARY_DIR}/cmake/${folder})
endfunction()
