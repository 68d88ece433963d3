package provider

import "time"

// OnStep has f called at each step that a crash could come after.
func (c *Config) OnStep(f func(name string)) { c.step = f }

// SetPatience sets what a request gets on top of the time that its bytes take.
func (c *Config) SetPatience(t time.Duration) { c.patience = t }
