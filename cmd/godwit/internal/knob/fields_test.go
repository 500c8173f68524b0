package knob_test

import (
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/cmd/godwit/internal/knob"
)

func TestFields(t *testing.T) {
	members, window := 100, time.Minute
	fields := func() *knob.Fields {
		members, window = 100, time.Minute
		return knob.NewFields([]knob.Field{
			{Name: "members", Value: knob.Int(&members)},
			{Name: "window", Value: knob.Duration(&window)},
		})
	}
	for _, test := range []struct {
		text, want string
		members    int
		window     time.Duration
	}{
		{"", "", 100, time.Minute},
		{"members=5", "members=5", 5, time.Minute},
		{"window=2m, members=7", "members=7,window=2m", 7, 2 * time.Minute},
		{"members=100", "", 100, time.Minute},
	} {
		f := fields()
		if err := f.Set(test.text); err != nil {
			t.Errorf("%q: %v", test.text, err)
		}
		if f.String() != test.want || members != test.members || window != test.window {
			t.Errorf("%q: printed %q, want %q; got %d and %v", test.text, f.String(), test.want, members, window)
		}
	}
	f := fields()
	for _, text := range []string{"members=5", "window=2m"} { // the last one counts, as a whole
		if err := f.Set(text); err != nil {
			t.Error(err)
		}
	}
	if f.String() != "window=2m" {
		t.Errorf("printed %q", f.String())
	}
	for text, want := range map[string]string{
		"member=5":  `did you mean "members"`,
		"members":   "as in members=1",
		"members=x": `members: "x"`,
		"window=5":  "window: ",
	} {
		if err := fields().Set(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something with %q", text, err, want)
		}
	}
}
