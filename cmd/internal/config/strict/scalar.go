package strict

import (
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// scalar reads a single value into a field.
func (f *File) scalar(n *yaml.Node, path string, v reflect.Value, tag Tag) {
	if n.Kind != yaml.ScalarNode {
		f.Refuse(n, path, "%s must be a single value, not %s", path, describe(n))
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		f.duration(n, path, v)
		return
	}
	if strings.Contains(n.Value, "${env:") || strings.Contains(n.Value, "${file:") {
		f.Refuse(n, path, "%s is %s: ${env:} and ${file:} are not supported by this version of holdfast", path, Quote(n.Value))
		return
	}
	switch v.Kind() {
	case reflect.String:
		f.text(n, path, v, tag)
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			f.Refuse(n, path, "%s must be true or false, not %s", path, describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if n.ShortTag() != "!!int" || err != nil {
			f.Refuse(n, path, "%s must be a whole number in decimal digits, not %s", path, describe(n))
			return
		}
		if f.inRange(n, path, float64(i), tag) {
			v.SetInt(int64(i))
		}
	case reflect.Float64:
		number, err := strconv.ParseFloat(n.Value, 64)
		if t := n.ShortTag(); t != "!!int" && t != "!!float" || err != nil || math.IsNaN(number) {
			f.Refuse(n, path, "%s must be a number, not %s", path, describe(n))
			return
		}
		if f.inRange(n, path, number, tag) {
			v.SetFloat(number)
		}
	}
}

func (f *File) inRange(n *yaml.Node, path string, x float64, tag Tag) bool {
	switch {
	case tag.Minimum != nil && x < *tag.Minimum:
		if x < 0 && *tag.Minimum == 0 {
			f.Refuse(n, path, "%s is negative", path)
			return false
		}
		f.Refuse(n, path, "%s is %s: it must be at least %s", path, n.Value, number(*tag.Minimum))
	case tag.Maximum != nil && x > *tag.Maximum:
		f.Refuse(n, path, "%s is %s: it must be at most %s", path, n.Value, number(*tag.Maximum))
	default:
		return true
	}
	return false
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

func (f *File) text(n *yaml.Node, path string, v reflect.Value, tag Tag) {
	if t := n.ShortTag(); t != "!!str" && t != "!!timestamp" {
		f.Refuse(n, path, "%s must be a text, not %s: put it in quotes if it is one", path, describe(n))
		return
	}
	s := n.Value
	switch {
	case strings.ContainsFunc(s, unicode.IsControl):
		f.Refuse(n, path, "%s has a control character in it: %s", path, Quote(s))
	case s == "" && (tag.Required || tag.NonEmpty):
		f.Refuse(n, path, "%s is empty", path)
	case slices.Contains(tag.Later, s):
		f.Refuse(n, path, "%s: %s is not supported by this version of holdfast: use %s", path, s, choice(tag.Enum))
	case slices.ContainsFunc(tag.Never, func(w string) bool { return strings.EqualFold(w, s) }):
		f.Refuse(n, path, "%s: %s is never accepted: only a signature by a private key proves who issued a token", path, s)
	case len(tag.Enum) > 0 && !slices.Contains(tag.Enum, s):
		f.Refuse(n, path, "%s is %s: use %s%s", path, Quote(s), choice(tag.Enum), DidYouMean(s, tag.Enum))
	default:
		v.SetString(s)
	}
}

// choice lists words: "a", "a or b", "one of a, b, c".
func choice(words []string) string {
	switch len(words) {
	case 1:
		return words[0]
	case 2:
		return words[0] + " or " + words[1]
	}
	return "one of " + strings.Join(words, ", ")
}

// DurationPattern is what a duration looks like: what time.ParseDuration reads,
// without a sign and never without a unit.
const DurationPattern = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`

var (
	duration = regexp.MustCompile(DurationPattern)
	days     = regexp.MustCompile(`^[0-9]+d$`)
)

func (f *File) duration(n *yaml.Node, path string, v reflect.Value) {
	switch n.ShortTag() {
	case "!!int", "!!float":
		if strings.HasPrefix(n.Value, "-") {
			f.Refuse(n, path, "%s is negative: %s", path, Quote(n.Value))
			return
		}
		f.Refuse(n, path, "%s is %s without a unit: write %ss, %sm or %sh", path, n.Value, n.Value, n.Value, n.Value)
		return
	case "!!bool":
		f.Refuse(n, path, "%s must be a duration such as 30s or 12h, not %s", path, n.Value)
		return
	}
	dur, err := time.ParseDuration(n.Value)
	switch {
	case days.MatchString(n.Value):
		hint := "write 24h for a day"
		if count, err := strconv.Atoi(strings.TrimSuffix(n.Value, "d")); err == nil && count < 100_000 {
			hint = "write " + strconv.Itoa(24*count) + "h"
		}
		f.Refuse(n, path, "%s is %s, but a day is no unit: %s", path, n.Value, hint)
	case n.Value == "0":
		f.Refuse(n, path, "%s is 0 without a unit: write 0s", path)
	case strings.HasPrefix(n.Value, "-"):
		f.Refuse(n, path, "%s is negative: %s", path, Quote(n.Value))
	case err != nil || !duration.MatchString(n.Value):
		f.Refuse(n, path, "%s is %s: it must be a duration such as 30s, 5m or 12h", path, Quote(n.Value))
	default:
		v.SetInt(int64(dur))
	}
}

// Short is a duration without the parts that are zero: 720h, not 720h0m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
