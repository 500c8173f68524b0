package delivery

import (
	"strings"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"workers":           func(c *Config) { c.Workers = 0 },
		"queue per session": func(c *Config) { c.QueuePerSession = 0 },
		"pull limit":        func(c *Config) { c.PullLimit = c.MaxPull + 1 },
		"max pull":          func(c *Config) { c.MaxPull = 0 },
		"sync limit":        func(c *Config) { c.SyncLimit = 0 },
		"max sync":          func(c *Config) { c.MaxSync = 0 },
		"max frame":         func(c *Config) { c.MaxFrame = minFrame - 1 },
		"max outbound":      func(c *Config) { c.MaxOutbound = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := New(c, nil, nil); err == nil {
			t.Errorf("%s: a Delivery was started", name)
		}
	}
}
