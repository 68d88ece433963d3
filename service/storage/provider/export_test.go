package provider

// OnStep has f called at each step that a crash could come after.
func (c *Config) OnStep(f func(name string)) { c.step = f }
