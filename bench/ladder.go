package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// LadderConfig describes the search for the highest rate at which delivery
// stays within a bound: measurements of Direct.For each, at twice the rate each
// time until one is too much, then halfway between the best and the lowest that
// was too much. A rate is too much when it was so in two measurements.
type LadderConfig struct {
	DirectConfig               // its Rate is where to begin; default 2000
	P99          time.Duration // the bound of send → delivery; default 5 ms
	// Within ends the search when the best rate that is too much is higher than
	// the best by less than this share. Default 0.1.
	Within float64
}

func (c *LadderConfig) withDefaults() error {
	set(&c.Rate, 2000)
	set(&c.P99, 5*time.Millisecond)
	set(&c.Within, 0.1)
	set(&c.For, 3*time.Second)
	if c.P99 < 0 || c.Within < 0.01 {
		return fmt.Errorf("bench: want a positive bound, and steps of at least 1%%")
	}
	return c.DirectConfig.withDefaults()
}

// holds reports whether a rate is not too much, at which delivery took p and so
// many messages were not sent until the end: within the bound or not, who has
// not sent what was due falls behind.
func (c *LadderConfig) holds(p report.Latency, unsent int64) bool {
	return p.Count > 0 && micros(p.P99) <= c.P99 && unsent <= p.Count/20
}

// Ladder finds the highest rate with a p99 within the bound. All its steps are
// checked as Direct's messages are.
func Ladder(ctx context.Context, cfg LadderConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := cfg.report(ctx, "ladder")
	run, err := cfg.start(ctx, r.Start)
	if err != nil {
		return nil, err
	}
	defer run.close()
	var best *measured
	// A machine hiccups: a rate is too much when it was twice.
	err = climb(cfg.Rate, cfg.Within, func(rate float64) (good bool, err error) {
		var p report.Latency
		for range 2 {
			fmt.Fprintf(orDiscard(cfg.Progress), "%.0f msgs/s:\n", rate)
			m, err := run.measure(ctx, rate)
			if err != nil {
				return false, err
			}
			if p = m.delivery.Latency(); cfg.holds(p, m.total.Unsent) {
				best, good = m, true
				break
			}
		}
		r.Add(report.Lower(fmt.Sprintf("delivery p50 at %.0f msgs/s", rate), "ms", float64(p.P50)/1000),
			report.Lower(fmt.Sprintf("delivery p99 at %.0f msgs/s", rate), "ms", float64(p.P99)/1000))
		return good, nil
	})
	r.Duration = time.Since(r.Start)
	if err := violated(r, err); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("highest rate with p99 ≤ %v, %d pairs", cfg.P99, cfg.Pairs)
	switch {
	case best != nil:
		r.Add(report.Higher(name, "msgs/s", best.perSecond()).AsHeadline())
		r.Add(best.rateFigure("the best step"))
		best.addTo(r)
	case r.Err() == nil:
		r.Notef("p99 was above %v even at the lowest rate that was tried", cfg.P99)
		r.Add(report.Higher(name, "msgs/s", 0).AsHeadline())
	}
	r.AddHistogram(run.handshake)
	return r, nil
}

// lowest is the part of the first rate at which climb gives up.
const lowest = 1.0 / 64

// climb calls try with rates: start and twice the last as long as that is good,
// or half of it as long as it is not, then halfway between the best that was
// good and the lowest that was not, until these are within a share of each
// other. The last good rate is the highest of them.
func climb(start, within float64, try func(rate float64) (good bool, err error)) error {
	good, bad := 0.0, 0.0
	for rate := start; ; {
		ok, err := try(rate)
		if err != nil {
			return err
		}
		if ok {
			good = rate
		} else {
			bad = rate
		}
		switch {
		case bad == 0:
			rate = 2 * good
		case good == 0:
			rate = bad / 2
		default:
			rate = (good + bad) / 2
		}
		if good > 0 && bad > 0 && bad-good < within*good || rate < start*lowest {
			return nil
		}
	}
}
