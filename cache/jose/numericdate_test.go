package jose

import (
	"testing"
	"time"
)

func TestNumericDate(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1800000000": 1800000000, "1800000000.999": 1800000000, "253402300799": MaxDate, "253402300799.9": MaxDate,
		"253402300800": -1, "18446744073709551616": -1, "-1": -1, "-0": -1, "-9223372036854775808": -1, "1e300": -1, "1E9": -1,
		"1.8e9": -1, "1.0E0": -1, `"1800000000"`: -1, "null": -1, "true": -1, "[1]": -1, "{}": -1,
	} {
		obj, err := ParseObject([]byte(`{"iat":` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		v, _ := obj.Get("iat")
		got, ok := v.NumericDate()
		if ok != (want >= 0) || ok && !got.Equal(time.Unix(want, 0)) {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
	if _, ok := (Value{}).NumericDate(); ok {
		t.Error("a value that is not there is a date")
	}
}
