package config

// validate notes what is wrong with values that are well formed each.
func validate(c *Config, d *decoder) {}

func checkFiles(c *Config, d *decoder) {}

func firstControl(lines []string) (place, bool) { return place{}, false }
