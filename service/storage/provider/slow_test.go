package provider_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/cairn-network/cairn/service/storage"
)

// TestSlow: who sends nothing is not waited for, and whoever comes beside is served.
func TestSlow(t *testing.T) {
	cfg := config()
	cfg.SetPatience(300 * time.Millisecond)
	cfg.Memory = 2 << 20 // two buffers: the slow ones hold all of them
	c := newClient(t, "customer", cfg, 1<<50)
	shard := random(70, 5000)
	c.want("", c.stage(shard), "stage") // the payer is known from here on
	start := time.Now()
	results := make(chan int)
	for range 4 {
		r, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		req, err := http.NewRequest("PUT", c.base+storage.PathShard+storage.ShardID(shard).String(), r)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(len(shard))
		go func() {
			res, err := c.http.Do(req)
			if err != nil {
				results <- 0
				return
			}
			res.Body.Close()
			results <- res.StatusCode
		}()
	}
	time.Sleep(50 * time.Millisecond)
	c.want("", c.stage(random(71, 5000)), "stage beside slow ones")
	for range 4 {
		if code := <-results; code != http.StatusRequestTimeout && code != 0 {
			t.Errorf("a request without a body: %d", code)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("slow requests were waited for %v", took)
	}
}
