"""The suite; what its tests share lives in modules beside this one."""
