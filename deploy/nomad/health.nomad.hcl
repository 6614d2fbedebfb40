# Watches the site, has it repaired, tells people: on the node with the state directory. docs/nomad.md.

variable "image" {
  type    = string
  default = "localhost/appia:latest"
}

variable "registry" {
  description = "What `appia keys site` prints: etcds://HOST:PORT[,HOST:PORT]/PREFIX."
  type        = string
  default     = "etcds://10.0.0.11:2379,10.0.0.12:2379,10.0.0.13:2379/appia/main"
}

job "appia-health" {
  type = "service"

  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "15s"
    healthy_deadline = "5m"
    auto_revert      = true
  }

  group "health" {
    count = 1

    constraint {
      attribute = "${meta.appia_ingester}"
      value     = "true"
    }

    network {
      mode = "host"
      port "health" {
        static = 5573
      }
      port "observe" {
        static = 9602
      }
    }

    volume "state" {
      type   = "host"
      source = "appia-state"
    }

    volume "keys" {
      type      = "host"
      source    = "appia-keys-health"
      read_only = true
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "5s"
      mode     = "delay"
    }

    task "health" {
      driver       = "docker"
      user         = "10001:10001"
      kill_timeout = "60s"

      config {
        image           = var.image
        network_mode    = "host"
        command         = "appia-health"
        args            = ["--settings", "/local/health.toml"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        pids_limit      = 256
        mount {
          type   = "tmpfs"
          target = "/tmp"
          tmpfs_options {
            size = 67108864
          }
        }
      }

      template {
        destination = "local/health.toml"
        data        = <<-TOML
          state = "/var/lib/appia/main"
          bind = "tcp://{{ env "NOMAD_ADDR_health" }}"
          observe = "127.0.0.1:{{ env "NOMAD_PORT_observe" }}"
          server_key = "/etc/appia/keys/server.secret"
          access = "/etc/appia/keys/access.toml"
          key = "/etc/appia/keys/health.secret"
          signing_key = "/etc/appia/keys/signing.public"
          registry = "${var.registry}"
          registry_keys = "/etc/appia/keys/registry"
        TOML
      }

      volume_mount {
        volume      = "state"
        destination = "/var/lib/appia"
      }

      volume_mount {
        volume      = "keys"
        destination = "/etc/appia/keys"
        read_only   = true
      }

      resources {
        cpu        = 300
        memory     = 300
        memory_max = 400
      }

      service {
        name     = "appia-health"
        provider = "nomad"
        port     = "observe"
        address  = "127.0.0.1"

        check {
          type     = "http"
          path     = "/readyz"
          interval = "10s"
          timeout  = "5s"
        }
      }
    }
  }
}
