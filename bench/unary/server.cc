// GetTaskStatus in C++: gRPC's callback API, the message built per call, the key compared with the one that is known.
//
//   server KEY UNIX_SOCKET CERTIFICATE PRIVATE_KEY
//
// Serves the socket, a TCP port in plain text and one with TLS; prints "ready PLAIN_PORT TLS_PORT".
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include <grpcpp/grpcpp.h>

#include "taskmeter/v1/task_service.grpc.pb.h"

namespace v1 = taskmeter::v1;

static std::string contents(const char *path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

// The values of bench/baseline.py.
static void fill(v1::TaskStatus *s, const std::string &token) {
    s->set_token(token);
    s->set_name("night run");
    s->set_project_id("simulations");
    s->set_source("cases/wing.yaml");
    s->set_state(static_cast<v1::TaskState>(3));
    s->set_create_time(1.7e9);
    s->set_start_time(1.7e9 + 0.01);
    s->set_total_count(1000);
    s->set_completed_count(250);
    s->set_failed_count(3);
    s->set_total_size(1000000000);
    s->set_completed_size(250000000);
    s->set_failed_size(3000000);
    s->set_rate_count(12);
    s->set_rate_size(12500000);
    s->set_rate_count_per_second(12.5);
    s->set_rate_size_per_second(1.25e7);
    s->set_eta_seconds(60);
    s->set_eta_low_seconds(50);
    s->set_eta_high_seconds(75);
    s->set_status("reading");
    s->set_current_object("cases/wing-0251.dat");
    v1::TaskMetrics *m = s->mutable_metrics();
    m->set_cpu_percent(48.5);
    m->set_cpu_memory_mb(512.25);
    m->set_peak_cpu_percent(99.5);
    m->set_peak_cpu_memory_mb(1024.5);
    m->set_avg_cpu_percent(51.5);
    m->set_avg_cpu_memory_mb(600.5);
    m->set_cpu_cores(0.97);
    m->set_cpu_time_ns(123456789012);
    m->set_memory_bytes(537133056);
    m->set_peak_memory_bytes(1074266112);
    m->set_io_read_bytes(1000000000);
    m->set_io_write_bytes(100000000);
    m->set_process_count(4);
    m->set_thread_count(9);
    m->set_source(static_cast<v1::MetricsSource>(1));
    m->set_sample_time(1.7e9);
    m->set_interval_seconds(0.1);
    m->set_memory_source(static_cast<v1::MemorySource>(1));
    v1::TaskTokens *t = s->mutable_tokens();
    t->set_cpu_utilization(34.98);
    t->set_cpu_memory(12.5);
    t->set_total(47.48);
    t->set_tariff("default-1");
    t->set_cpu_ns(123456789012);
    t->set_memory_byte_seconds(4.8e11);
    (*s->mutable_tags())["team"] = "aero";
    (*s->mutable_tags())["kind"] = "nightly";
    (*s->mutable_metadata())["case"] = "wing";
    s->set_node("local");
    s->set_pid(4711);
    v1::TaskTimings *timings = s->mutable_timings();
    timings->set_queue_seconds(0.001);
    timings->set_start_seconds(0.009);
    timings->set_run_seconds(20.0);
    s->set_seq(1234);
    s->set_work_summary("python solve.py --case wing");
}

class Service final : public v1::TaskService::CallbackService {
public:
    explicit Service(const char *key) : bearer_(std::string("Bearer ") + key) {}

    grpc::ServerUnaryReactor *GetTaskStatus(grpc::CallbackServerContext *context, const v1::GetTaskStatusRequest *request,
                                            v1::GetTaskStatusResponse *response) override {
        grpc::ServerUnaryReactor *reactor = context->DefaultReactor();
        auto found = context->client_metadata().find("authorization");
        if (found == context->client_metadata().end() || found->second != bearer_) {
            reactor->Finish(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "authorization must be 'Bearer KEY'"));
            return reactor;
        }
        fill(response->mutable_status(), request->token());
        reactor->Finish(grpc::Status::OK);
        return reactor;
    }

private:
    const std::string bearer_;
};

int main(int argc, char **argv) {
    if (argc != 5) {
        std::fprintf(stderr, "server KEY UNIX_SOCKET CERTIFICATE PRIVATE_KEY\n");
        return 2;
    }
    Service service(argv[1]);
    grpc::SslServerCredentialsOptions tls;
    tls.pem_key_cert_pairs.push_back({contents(argv[4]), contents(argv[3])});
    int plain_port = 0, tls_port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(std::string("unix:") + argv[2], grpc::InsecureServerCredentials());
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &plain_port);
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &tls_port);
    builder.RegisterService(&service);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server) return 1;
    std::printf("ready %d %d\n", plain_port, tls_port);
    std::fflush(stdout);
    server->Wait();
}
