package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/holdfast-authz/holdfast/examples/issuer"
	"github.com/holdfast-authz/holdfast/examples/upstream"
)

// person is somebody with a browser, and with a certificate or without.
type person struct {
	name   string
	x5t    string // of the certificate, "" without
	client *http.Client
}

// newPerson makes a client that trusts the demo's authority. HTTP/2 and one
// connection, as browsers do.
func newPerson(name string, pool *x509.CertPool, cert *issuer.Certificate) (*person, error) {
	p := &person{name: name}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if cert != nil {
		pair, err := cert.TLS()
		if err != nil {
			return nil, fmt.Errorf("use the certificate of %s: %w", name, err)
		}
		config.Certificates = []tls.Certificate{pair}
		p.x5t = cert.Thumbprint()
	}
	p.client = &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
	return p, nil
}

// request is one call of the application.
type request struct {
	by           *person
	token        string
	method, path string
	header       map[string]string
}

func (r request) String() string {
	if r.method == "" {
		r.method = http.MethodGet
	}
	cert := "no certificate"
	if r.by.x5t != "" {
		cert = r.by.name + "'s certificate"
	}
	return fmt.Sprintf("%s %s, %s", r.method, r.path, cert)
}

// answer is what came back, and what Envoy's access log says about it.
type answer struct {
	status int
	header http.Header
	body   []byte
	echo   upstream.Echo // what the upstream saw, if it was asked
	took   time.Duration
	log    accessLine
}

func (a *answer) String() string {
	return fmt.Sprintf("%d %-20s %5.1f ms", a.status, a.log.Reason, ms(a.took))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// accessLine is one request in Envoy's access log.
type accessLine struct {
	Status     int    `json:"status"`
	Details    string `json:"details"`
	Decision   string `json:"decision"`
	Reason     string `json:"reason"`
	DecisionID string `json:"decision_id"`
	Class      string `json:"class"`
	Route      string `json:"route"`
}

// send makes the request through Envoy, waits for its line in the access log,
// and returns both. The story makes one request at a time, so the next line is
// this request's.
func (w *world) send(ctx context.Context, r request) (*answer, error) {
	a, err := w.do(ctx, r)
	if err == nil {
		a.log, err = w.access.next(ctx)
	}
	return a, err
}

// do is send without the access log.
func (w *world) do(ctx context.Context, r request) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "https://"+w.envoy.Listener+r.path, nil)
	if err != nil {
		return nil, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	start := time.Now()
	res, err := r.by.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20)); err != nil {
		return nil, err
	}
	a.took = time.Since(start)
	if a.status == http.StatusOK {
		if err := decode(a.body, &a.echo); err != nil {
			return nil, fmt.Errorf("read the upstream's answer %q: %w", a.body, err)
		}
	}
	return a, nil
}

// accessLog follows the file line by line.
type accessLog struct {
	path string
	read int64  // bytes taken from the file
	text []byte // of those, what is not yet handed out
}

const logWait = 5 * time.Second // Envoy flushes every 20 ms

func (l *accessLog) next(ctx context.Context) (line accessLine, err error) {
	end := bytes.IndexByte(l.text, '\n')
	if end < 0 {
		err = until(ctx, logWait, func(context.Context) error {
			if err := l.more(); err != nil {
				return stop{err}
			}
			if end = bytes.IndexByte(l.text, '\n'); end < 0 {
				return errors.New("no line for this request")
			}
			return nil
		})
	}
	if err != nil {
		return line, fmt.Errorf("follow Envoy's access log: %w", err)
	}
	raw := l.text[:end]
	l.text = l.text[end+1:]
	if err := decode(raw, &line); err != nil {
		return line, fmt.Errorf("read Envoy's access log %q: %w", raw, err)
	}
	return line, nil
}

// more takes what Envoy has written since.
func (l *accessLog) more() error {
	f, err := os.Open(l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, l.read, math.MaxInt64-l.read))
	l.read += int64(len(text))
	l.text = append(l.text, text...)
	return err
}

// login posts a form to the issuer's token endpoint, or to reauth.
func (w *world) login(ctx context.Context, endpoint string, form url.Values) (*issuer.Token, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.issuer+endpoint, bytes.NewBufferString(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := local().Do(req)
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	var token issuer.Token
	if err := decode(body, &token); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("log in: %s: %s", res.Status, body)
	}
	return &token, nil
}
