package knob

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Field is one of several values that share a knob.
type Field struct {
	Name  string
	Doc   string // what it does, in Markdown, without a full stop
	Value pflag.Value

	initial string
}

// Default is the field's value when nothing sets it.
func (f Field) Default() string { return f.initial }

// Fields is the value of a knob that holds many: "members=500,groups=20". Those
// that are not named keep their defaults. It prints those that were changed, in
// the order of the table.
type Fields struct {
	all []Field
}

// NewFields makes a knob's value out of fields, whose present values are the
// defaults.
func NewFields(fields []Field) *Fields {
	f := &Fields{all: fields}
	for i := range f.all {
		f.all[i].initial = f.all[i].Value.String()
	}
	return f
}

// All returns the fields.
func (f *Fields) All() []Field { return f.all }

// Set implements pflag.Value. What text does not name gets its default again.
// After an error some of the fields may be set.
func (f *Fields) Set(text string) error {
	for _, field := range f.all {
		if err := field.Value.Set(field.initial); err != nil {
			return fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("%q has no value, as in %s=1", pair, name)
		}
		field := f.find(name)
		if field == nil {
			return fmt.Errorf("there is no %q here%s", name, suggest(name, f.names()))
		}
		if err := field.Value.Set(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (f *Fields) find(name string) *Field {
	for i := range f.all {
		if f.all[i].Name == name {
			return &f.all[i]
		}
	}
	return nil
}

func (f *Fields) names() []string {
	names := make([]string, len(f.all))
	for i, field := range f.all {
		names[i] = field.Name
	}
	return names
}

// String implements pflag.Value.
func (f *Fields) String() string {
	var changed []string
	for _, field := range f.all {
		if v := field.Value.String(); v != field.initial {
			changed = append(changed, field.Name+"="+v)
		}
	}
	return strings.Join(changed, ",")
}

// Type implements pflag.Value.
func (f *Fields) Type() string { return "name=value,..." }
