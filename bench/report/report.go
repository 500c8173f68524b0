// Package report is what a run of the load tool leaves behind: the figures and
// what they are measured against, latencies, series over time, and everything
// that is needed to run it again. A Report is written as a table for a
// terminal, as JSON, and as one self-contained HTML page; Diff compares two.
//
// The package also measures: a Histogram takes latencies from many event
// loops, a Sampler watches processes and the kernel.
//
// It knows nothing of the server and its protocol.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// Schema is the version of the JSON form. It changes when a reader of the last
// one would misread the new one; new optional fields leave it alone.
const Schema = 1

// Report is one run of one scenario. It belongs to one goroutine at a time.
type Report struct {
	Schema   int    `json:"schema"`
	Scenario string `json:"scenario"`
	// Subject is what was put under load: "godwit", or a peer's name.
	Subject  string        `json:"subject"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration_ns"`

	Machine Machine `json:"machine"`
	Build   Build   `json:"build"`
	// Flags holds every flag in the order of the command's help, also those
	// that were left alone.
	Flags []Flag `json:"flags,omitempty"`
	// Durability says in words when the server under load calls a message
	// stored, such as "fdatasync before each ack".
	Durability string `json:"durability,omitempty"`
	// Peers are the other systems that the figures are compared to.
	Peers []Peer `json:"peers,omitempty"`

	// Violations are broken promises: a message lost, doubled or out of order.
	// A run with one has failed, whatever its speed.
	Violations []string `json:"violations,omitempty"`

	Figures   []Figure   `json:"figures,omitempty"`
	Latencies []Latency  `json:"latencies,omitempty"`
	Timelines []Timeline `json:"timelines,omitempty"`
	Series    []Series   `json:"series,omitempty"`
	// Notes are remarks of one sentence each, shown below the figures.
	Notes []string `json:"notes,omitempty"`
}

// Flag is one setting of the run.
type Flag struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default bool   `json:"default,omitempty"` // left alone
}

// Peer is a system that was measured beside the server.
type Peer struct {
	Name       string `json:"name"`
	Version    string `json:"version,omitempty"`
	Durability string `json:"durability"`
}

// Series is one quantity over time. Series that share Chart and Unit are drawn
// in one chart, in their order.
type Series struct {
	Name  string `json:"name"`
	Chart string `json:"chart"`
	// Unit is "B" and "B/s" for bytes, "cores" for processor time, "/s" for
	// rates; others are shown as they are.
	Unit   string  `json:"unit"`
	Points []Point `json:"points"` // X in seconds since the run's start
}

// Point is written as [x, y].
type Point struct{ X, Y float64 }

// MarshalJSON implements json.Marshaler.
func (p Point) MarshalJSON() ([]byte, error) { return json.Marshal([2]float64{p.X, p.Y}) }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Point) UnmarshalJSON(data []byte) error {
	var xy [2]float64
	if err := json.Unmarshal(data, &xy); err != nil {
		return err
	}
	p.X, p.Y = xy[0], xy[1]
	return nil
}

// New begins the report of a run that starts now, on this machine and with
// this binary as the tool.
func New(scenario string) *Report {
	return &Report{
		Schema:   Schema,
		Scenario: scenario,
		Subject:  "godwit",
		Start:    time.Now().Round(0), // a report is read elsewhere, where the monotonic clock means nothing
		Machine:  LoadMachine(),
		Build:    Build{Tool: GitBuild()},
	}
}

// Add appends figures. One that is not a number was not measured, so it is
// left out and recorded as a violation.
func (r *Report) Add(figures ...Figure) {
	for _, f := range figures {
		if !finite(f.Value) || f.Of != nil && !finite(f.Of.Value) {
			r.Violatef("%s was not measured: %v %s", f.Name, f.Value, f.Unit)
			continue
		}
		r.Figures = append(r.Figures, f)
	}
}

// Violatef records a broken promise.
func (r *Report) Violatef(format string, args ...any) {
	r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
}

// Notef adds a remark.
func (r *Report) Notef(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// AddHistogram appends the histogram's distribution and its course.
func (r *Report) AddHistogram(h *Histogram) {
	r.Latencies = append(r.Latencies, h.Latency())
	if t := h.Timeline(); len(t.Points) > 0 {
		r.Timelines = append(r.Timelines, t)
	}
}

// Err is nil when nothing was violated. A missed target is no error.
func (r *Report) Err() error {
	switch n := len(r.Violations); n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("violated: %s", r.Violations[0])
	default:
		return fmt.Errorf("%d violations, the first: %s", n, r.Violations[0])
	}
}

// WriteJSON writes the report as indented JSON. A report that holds a NaN or
// an infinity cannot be written; Add keeps those out of the figures.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(in io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("report: schema %d, where %d is known", r.Schema, Schema)
	}
	return &r, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
