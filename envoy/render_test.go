package envoy

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write envoy.yaml anew from the template")

// TestShippedFileIsRendered holds envoy.yaml to the template.
func TestShippedFileIsRendered(t *testing.T) {
	want, err := Render(Example())
	if err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile("envoy.yaml", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("envoy.yaml is not what Render makes of Example; go test ./envoy -run ShippedFile -rewrite (-want +got):\n%s", diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Edge)
		want   string
	}{
		"admin on all addresses":    {func(e *Edge) { e.Admin = "0.0.0.0:9901" }, "loopback"},
		"admin by name":             {func(e *Edge) { e.Admin = "localhost:9901" }, "loopback"},
		"no listen":                 {func(e *Edge) { e.Listen = "" }, "listen"},
		"listen by name":            {func(e *Edge) { e.Listen = "edge:443" }, "listen"},
		"one address for both":      {func(e *Edge) { e.Listen = e.Admin }, "both"},
		"no upstream":               {func(e *Edge) { e.Upstream = "" }, "upstream"},
		"upstream without port":     {func(e *Edge) { e.Upstream = "app" }, "upstream"},
		"port out of range":         {func(e *Edge) { e.Upstream = "app:65536" }, "upstream"},
		"no check":                  {func(e *Edge) { e.Check = "" }, "check"},
		"relative socket":           {func(e *Edge) { e.Check = "unix://authz.sock" }, "absolute"},
		"negative timeout":          {func(e *Edge) { e.Timeout = -time.Second }, "timeout"},
		"TLS without key":           {func(e *Edge) { e.TLS = &TLS{CertFile: "tls.crt"} }, "key file"},
		"route without name":        {func(e *Edge) { e.Routes = []Route{{Prefix: "/x/"}} }, "name"},
		"route prefix without root": {func(e *Edge) { e.Routes = []Route{{Prefix: "x/", Route: "x"}} }, "begins with /"},
	} {
		e := Example()
		c.change(&e)
		if got, err := Render(e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Render = %d bytes, %v; want an error with %q", name, len(got), err, c.want)
		}
	}
}

func TestAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:9191":       `{socket_address: {address: "127.0.0.1", port_value: 9191}}`,
		"[::1]:0":              `{socket_address: {address: "::1", port_value: 0}}`,
		"holdfast.sec:9191":    `{socket_address: {address: "holdfast.sec", port_value: 9191}}`,
		"unix:///run/a b.sock": `{pipe: {path: "/run/a b.sock"}}`,
		"unix:///a\"}\n# b":    `{pipe: {path: "/a\"}\n# b"}}`,
	} {
		if got, err := address(addr); err != nil || got != want {
			t.Errorf("address(%q) = %s, %v; want %s", addr, got, err, want)
		}
	}
}
