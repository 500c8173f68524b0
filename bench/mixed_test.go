package bench

import (
	"testing"
	"time"
)

// TestMixed has people do everything there is to do, often, with a server that
// answers and with one that refuses a lot for the moment.
func TestMixed(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		refuses bool
	}{
		{"allowed", nil, false},
		{"one request at a time", []string{"--max-in-flight", "1"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := MixedConfig{
				People: 40, Friends: 4, Idle: 20, Messages: 400, Looks: 100, Marks: 0.5, Returns: 30,
				Groups: 4, GroupSize: 5, Large: 40, GroupMessages: 60, LargeMessages: 5, Events: 60, Typing: 60, Settings: 60,
				Slack: 50 * time.Millisecond, Warmup: 200 * time.Millisecond, For: 2 * time.Second, Loops: 2,
			}
			cfg.Target = start(t, append(test.args, "--rules="+cfg.ServerRules())...)
			r, err := Mixed(t.Context(), cfg)
			checkReport(t, r, err, "WHO → PRESENT")
			// Means of processes at random. What was meant to happen is counted, so a
			// slow machine does not make it more, nor fewer messages. Of the rest,
			// what is asked for on a connection that is lost is dropped, and so is what
			// there is nothing to do for.
			for name, want := range map[string]struct{ least, most float64 }{
				"messages delivered":               {130, 1000},
				"messages delivered in groups":     {100, 1200}, // 60 to 4 each, 5 to 39
				"edits, recalls and reactions":     {0, 200},    // of a writer with nothing under way
				"typing signals":                   {0.1, 200},
				"settings changed":                 {0.1, 200},
				"marks":                            {0.1, 1200},
				"looks who is online":              {0.1, 300},
				"returns":                          {0.1, 80},
				"signals received":                 {1, 10_000},
				"presence told":                    {0, 100_000},
				"events on messages just recalled": {0, 200},
			} {
				if got := figure(t, r, name); got < want.least || got > want.most {
					t.Errorf("%s: %.0f, want %.0f to %.0f", name, got, want.least, want.most)
				}
			}
			if figure(t, r, "of all messages pulled") == 0 {
				t.Error("nobody has missed anything while away")
			}
			// Of the 3,000 or so that are allowed a machine that stalls may bring too
			// many at once.
			if n := figure(t, r, "requests refused for the moment"); test.refuses && n == 0 || !test.refuses && n > 300 {
				t.Errorf("%v requests were refused", n)
			}
			for _, l := range r.Latencies {
				if l.Count == 0 && l.Name != "event → ack" || l.Count > 0 && l.P50 <= 0 {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}
