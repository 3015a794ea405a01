package config

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
func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value, tag fieldTag) {
	if n.Kind != yaml.ScalarNode {
		d.refuse(n, path, "%s must be a single value, not %s", path, describe(n))
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.text(n, path, v, tag)
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			d.refuse(n, path, "%s must be true or false, not %s", path, describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if n.ShortTag() != "!!int" || err != nil {
			d.refuse(n, path, "%s must be a whole number in decimal digits, not %s", path, describe(n))
			return
		}
		if d.inRange(n, path, float64(i), tag) {
			v.SetInt(int64(i))
		}
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if t := n.ShortTag(); t != "!!int" && t != "!!float" || err != nil || math.IsNaN(f) {
			d.refuse(n, path, "%s must be a number, not %s", path, describe(n))
			return
		}
		if d.inRange(n, path, f, tag) {
			v.SetFloat(f)
		}
	}
}

func (d *decoder) inRange(n *yaml.Node, path string, f float64, tag fieldTag) bool {
	switch {
	case tag.minimum != nil && f < *tag.minimum:
		if f < 0 && *tag.minimum == 0 {
			d.refuse(n, path, "%s is negative", path)
			return false
		}
		d.refuse(n, path, "%s is %s: it must be at least %s", path, n.Value, number(*tag.minimum))
	case tag.maximum != nil && f > *tag.maximum:
		d.refuse(n, path, "%s is %s: it must be at most %s", path, n.Value, number(*tag.maximum))
	default:
		return true
	}
	return false
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (d *decoder) text(n *yaml.Node, path string, v reflect.Value, tag fieldTag) {
	if t := n.ShortTag(); t != "!!str" && t != "!!timestamp" {
		d.refuse(n, path, "%s must be a text, not %s: put it in quotes if it is one", path, describe(n))
		return
	}
	s := n.Value
	switch {
	case strings.ContainsFunc(s, unicode.IsControl):
		d.refuse(n, path, "%s has a control character in it: %s", path, quote(s))
	case s == "" && (tag.required || tag.nonEmpty):
		d.refuse(n, path, "%s is empty", path)
	case slices.Contains(tag.later, s):
		d.refuse(n, path, "%s: %s is not supported by this version of holdfast: use %s", path, s, oneOf(tag.enum))
	case slices.ContainsFunc(tag.never, func(w string) bool { return strings.EqualFold(w, s) }):
		d.refuse(n, path, "%s: %s is never accepted: only a signature by a private key proves who issued a token", path, s)
	case len(tag.enum) > 0 && !slices.Contains(tag.enum, s):
		d.refuse(n, path, "%s is %s: use %s%s", path, quote(s), oneOf(tag.enum), didYouMean(s, tag.enum))
	default:
		v.SetString(s)
	}
}

// oneOf lists words: "a", "a or b", "one of a, b, c".
func oneOf(words []string) string {
	switch len(words) {
	case 1:
		return words[0]
	case 2:
		return words[0] + " or " + words[1]
	}
	return "one of " + strings.Join(words, ", ")
}

var (
	duration = regexp.MustCompile(durationPattern)
	days     = regexp.MustCompile(`^[0-9]+d$`)
)

func (d *decoder) duration(n *yaml.Node, path string, v reflect.Value) {
	switch n.ShortTag() {
	case "!!int", "!!float":
		if strings.HasPrefix(n.Value, "-") {
			d.refuse(n, path, "%s is negative: %s", path, quote(n.Value))
			return
		}
		d.refuse(n, path, "%s is %s without a unit: write %ss, %sm or %sh", path, n.Value, n.Value, n.Value, n.Value)
		return
	case "!!bool":
		d.refuse(n, path, "%s must be a duration such as 30s or 12h, not %s", path, n.Value)
		return
	}
	dur, err := time.ParseDuration(n.Value)
	switch {
	case days.MatchString(n.Value):
		hint := "write 24h for a day"
		if count, err := strconv.Atoi(strings.TrimSuffix(n.Value, "d")); err == nil && count < 100_000 {
			hint = "write " + strconv.Itoa(24*count) + "h"
		}
		d.refuse(n, path, "%s is %s, but a day is no unit: %s", path, n.Value, hint)
	case n.Value == "0":
		d.refuse(n, path, "%s is 0 without a unit: write 0s", path)
	case strings.HasPrefix(n.Value, "-"):
		d.refuse(n, path, "%s is negative: %s", path, quote(n.Value))
	case err != nil || !duration.MatchString(n.Value):
		d.refuse(n, path, "%s is %s: it must be a duration such as 30s, 5m or 12h", path, quote(n.Value))
	default:
		v.SetInt(int64(dur))
	}
}
