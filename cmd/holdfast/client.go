package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	defaultServer = "http://127.0.0.1:9292"
	answerLimit   = 30 * time.Second // besides what --wait asks for
	maxAnswer     = 64 << 20
)

// client calls the admin API of contract §5 for the verbs. Its fields are the
// flags that all of them take.
type client struct {
	server, tokenFile, output string
}

// addTo gives a command, and the commands below it, the client's flags.
func (c *client) addTo(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.server, "server", defaultServer, "admin address of a Holdfast: http(s)://host:port, or unix:///path")
	flags.StringVar(&c.tokenFile, "token-file", "", "file with the admin token, where the server asks for one")
	flags.StringVarP(&c.output, "output", "o", "table", "table, json or yaml")
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	body         any
	header       http.Header
	wait         time.Duration // how much longer the answer may take
}

// answer is what came back with a status below 300, or one that the call expects.
type answer struct {
	status int
	body   []byte
	header http.Header
}

func (a *answer) into(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// do sends a call. Every answer but 2xx is an error that says what to do; 502
// is left to the caller where it takes it.
func (c *client) do(ctx context.Context, send *call) (*answer, error) {
	if err := c.checkOutput(); err != nil {
		return nil, err
	}
	base, transport, err := c.dial()
	if err != nil {
		return nil, err
	}
	token, err := c.token(base)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if send.body != nil {
		text, err := json.Marshal(send.body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit+send.wait)
	defer cancel()
	to := *base
	to.Path, to.RawQuery = send.path, send.query.Encode()
	req, err := http.NewRequestWithContext(ctx, send.method, to.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	for name, values := range send.header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.server, err)
	}
	if resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusBadGateway && !isProblem(resp) {
		return &answer{resp.StatusCode, text, resp.Header}, nil
	}
	return nil, c.refused(resp, text)
}

func (c *client) checkOutput() error {
	switch c.output {
	case "table", "json", "yaml":
		return nil
	}
	return &exitError{exitUsage, fmt.Errorf("--output %q is not table, json or yaml", c.output)}
}

// dial reads --server.
func (c *client) dial() (*url.URL, *http.Transport, error) {
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment, // never used for loopback
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if path, ok := strings.CutPrefix(c.server, "unix://"); ok {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, transport, nil
	}
	u, err := url.Parse(c.server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, nil, &exitError{exitUsage, errors.New("--server is not an address such as " + defaultServer + " or unix:///run/holdfast.sock")}
	}
	return u, transport, nil
}

// token reads --token-file. It never goes over a network in the clear.
func (c *client) token(base *url.URL) (string, error) {
	if c.tokenFile == "" {
		return "", nil
	}
	if base.Scheme == "http" && !strings.HasPrefix(c.server, "unix://") && !isLoopback(base.Hostname()) {
		return "", &exitError{exitUsage, fmt.Errorf("will not send the token to %s unencrypted\nuse https, or a tunnel to its loopback address", base.Host)}
	}
	text, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("%s does not hold one token of printable characters", c.tokenFile)
	}
	return token, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// unreachable says what to do where there was no answer.
func (c *client) unreachable(err error) error {
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err // without the URL, whose query may name somebody
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer in time", c.server)
	}
	return fmt.Errorf("no answer from %s: %w\nis it running? start one with: holdfast serve -c FILE; another address: --server", c.server, err)
}

func isProblem(resp *http.Response) bool {
	return resp.Header.Get("Content-Type") == "application/problem+json"
}

// refusal is a problem document (RFC 9457), as an error for a person.
type refusal struct {
	status int
	faults []bodyFault
	text   string
}

// bodyFault is one thing that is wrong with a body.
type bodyFault struct {
	Pointer string `json:"pointer"` // RFC 6901
	Detail  string `json:"detail"`
}

func (r *refusal) Error() string { return r.text }

// refused turns a problem document into an error.
func (c *client) refused(resp *http.Response, body []byte) error {
	var p struct {
		Title  string      `json:"title"`
		Detail string      `json:"detail"`
		Code   string      `json:"code"`
		Errors []bodyFault `json:"errors"`
	}
	if !isProblem(resp) || json.Unmarshal(body, &p) != nil {
		return fmt.Errorf("%s answered %d, and not as the admin API does\nis --server the address of listen.admin?", c.server, resp.StatusCode)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d %s)", printable(p.Detail), resp.StatusCode, printable(p.Code))
	if len(p.Errors) > 1 {
		for _, e := range p.Errors {
			fmt.Fprintf(&b, "\n  %s %s", printable(e.Pointer), printable(e.Detail))
		}
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized && c.tokenFile == "":
		b.WriteString("\nname the file that holds the token: --token-file FILE")
	case resp.StatusCode == http.StatusUnauthorized:
		b.WriteString("\nthe token in " + c.tokenFile + " is not the server's")
	case p.Code == "ttl_too_short":
		b.WriteString("\nleave --ttl out, or insist with --force")
	case p.Code == "not_durable":
		b.WriteString("\nlook at: holdfast feed status; then repeat the command")
	}
	return &refusal{resp.StatusCode, p.Errors, b.String()}
}
