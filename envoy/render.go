package envoy

import (
	"bytes"
	_ "embed" // the template
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Edge is what differs between one edge Envoy and the next. Addresses are
// written as in Holdfast's configuration: "host:port" or "unix:///path".
// The hardening is the same for all: there is no field that weakens it.
type Edge struct {
	Listen    string        // IP address and port; port 0 lets the kernel choose
	Admin     string        // loopback address and port, "" = 127.0.0.1:0
	TLS       *TLS          // nil: clients speak plain HTTP
	Upstream  string        // the application
	Check     string        // Holdfast's listen.check
	Timeout   time.Duration // for one check, 0 = 250ms
	AccessLog string        // file, "" = /dev/stdout
	Routes    []Route       // before the route "/" that takes all the rest
}

// TLS is the listener's certificate and whose client certificates it accepts.
// A client certificate is always optional for Envoy: whether a request needs
// one is for Holdfast to say.
type TLS struct {
	CertFile, KeyFile string
	ClientCAFile      string // "": no client certificates
}

// Route names the route of Holdfast's configuration that holds below a path
// prefix, so that Holdfast does not have to match the path itself.
type Route struct{ Prefix, Route string }

// defaultTimeout is for one check, its retry included. A check takes well under
// a millisecond.
const (
	defaultTimeout = 250 * time.Millisecond
	minTimeout     = 10 * time.Millisecond // above the first back-off of the template
)

// Example is the Edge that the shipped envoy.yaml is rendered from.
func Example() Edge {
	return Edge{
		Listen:   "0.0.0.0:8443",
		Admin:    "127.0.0.1:9901",
		TLS:      &TLS{CertFile: "/etc/envoy/tls/tls.crt", KeyFile: "/etc/envoy/tls/tls.key", ClientCAFile: "/etc/envoy/tls/client-ca.crt"},
		Upstream: "127.0.0.1:8080",
		Check:    "127.0.0.1:9191",
	}
}

//go:embed edge.yaml.tmpl
var edgeTemplate string

// Render writes the bootstrap configuration of an edge Envoy.
func Render(e Edge) ([]byte, error) {
	e.fill()
	if err := e.validate(); err != nil {
		return nil, fmt.Errorf("render the Envoy configuration: %w", err)
	}
	t, err := template.New("edge.yaml").Funcs(template.FuncMap{
		"address":   address,
		"discovery": discovery,
		"duration":  func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" },
		"quote":     quote,
	}).Parse(edgeTemplate)
	if err != nil {
		return nil, fmt.Errorf("render the Envoy configuration: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, e); err != nil {
		return nil, fmt.Errorf("render the Envoy configuration: %w", err)
	}
	return out.Bytes(), nil
}

func (e *Edge) fill() {
	if e.Admin == "" {
		e.Admin = "127.0.0.1:0"
	}
	if e.Timeout == 0 {
		e.Timeout = defaultTimeout
	}
	if e.AccessLog == "" {
		e.AccessLog = "/dev/stdout"
	}
}

func (e *Edge) validate() error {
	var wrong []error
	listen, err := netip.ParseAddrPort(e.Listen)
	if err != nil {
		wrong = append(wrong, fmt.Errorf("listen %q: want an IP address and a port", e.Listen))
	}
	admin, err := netip.ParseAddrPort(e.Admin)
	if err != nil || !admin.Addr().IsLoopback() {
		wrong = append(wrong, fmt.Errorf("admin %q: want a loopback address and a port; who reaches it can stop Envoy", e.Admin))
	}
	if admin.Port() != 0 && admin == listen {
		wrong = append(wrong, fmt.Errorf("listen and admin are both %s", admin))
	}
	for name, addr := range map[string]string{"upstream": e.Upstream, "check": e.Check} {
		if _, err := address(addr); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	if e.Timeout < minTimeout {
		wrong = append(wrong, fmt.Errorf("timeout %s: want at least %s", e.Timeout, minTimeout))
	}
	if e.TLS != nil && (e.TLS.CertFile == "" || e.TLS.KeyFile == "") {
		wrong = append(wrong, errors.New("TLS needs a certificate and a key file"))
	}
	for _, r := range e.Routes {
		if !strings.HasPrefix(r.Prefix, "/") || r.Route == "" {
			wrong = append(wrong, fmt.Errorf("route %q for prefix %q: want a name, and a prefix that begins with /", r.Route, r.Prefix))
		}
	}
	return errors.Join(wrong...)
}

// address is an Envoy core.v3.Address as a YAML flow mapping.
func address(addr string) (string, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", fmt.Errorf("address %q: the path of a Unix socket must be absolute", addr)
		}
		quoted, err := quote(path)
		return "{pipe: {path: " + quoted + "}}", err
	}
	host, port, err := splitHostPort(addr)
	if err != nil {
		return "", err
	}
	quoted, err := quote(host)
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %d}}", quoted, port), err
}

// splitHostPort is net.SplitHostPort with a checked port and no empty host.
func splitHostPort(addr string) (string, uint16, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return ap.Addr().String(), ap.Port(), nil
	}
	host, digits, ok := strings.Cut(addr, ":")
	port, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || host == "" {
		return "", 0, fmt.Errorf("address %q: want host:port or unix:///path", addr)
	}
	return host, uint16(port), nil
}

// discovery is the type of a cluster with this one address: names are resolved
// by Envoy, everything else is taken as it is.
func discovery(addr string) string {
	if _, err := netip.ParseAddrPort(addr); err == nil || strings.HasPrefix(addr, "unix://") {
		return "STATIC"
	}
	return "STRICT_DNS"
}

// quote writes a string as a double-quoted YAML scalar: JSON's are such.
func quote(s string) (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}
