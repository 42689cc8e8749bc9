"""The RPCs this client knows: path, request and response of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from taskmeter.v1 import admin_service_pb2 as admin
from taskmeter.v1 import file_service_pb2 as files
from taskmeter.v1 import item_service_pb2 as items
from taskmeter.v1 import queue_service_pb2 as queues
from taskmeter.v1 import schedule_service_pb2 as schedules
from taskmeter.v1 import task_service_pb2 as tasks

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Req, Resp]):
    """One RPC."""

    path: str
    request: type[Req]
    response: type[Resp]


START_TASK = Method("/taskmeter.v1.TaskService/StartTask", tasks.StartTaskRequest, tasks.StartTaskResponse)
GET_TASK_STATUS = Method("/taskmeter.v1.TaskService/GetTaskStatus", tasks.GetTaskStatusRequest, tasks.GetTaskStatusResponse)
GET_TASK_RECORD = Method("/taskmeter.v1.TaskService/GetTaskRecord", tasks.GetTaskRecordRequest, tasks.GetTaskRecordResponse)
LIST_TASKS = Method("/taskmeter.v1.TaskService/ListTasks", tasks.ListTasksRequest, tasks.ListTasksResponse)
TERMINATE = Method("/taskmeter.v1.TaskService/Terminate", tasks.TerminateRequest, tasks.TerminateResponse)
TERMINATE_TASKS = Method("/taskmeter.v1.TaskService/TerminateTasks", tasks.TerminateTasksRequest, tasks.TerminateTasksResponse)
RETRY_TASK = Method("/taskmeter.v1.TaskService/RetryTask", tasks.RetryTaskRequest, tasks.RetryTaskResponse)
RETRY_TASKS = Method("/taskmeter.v1.TaskService/RetryTasks", tasks.RetryTasksRequest, tasks.RetryTasksResponse)
WAIT_TASK = Method("/taskmeter.v1.TaskService/WaitTask", tasks.WaitTaskRequest, tasks.WaitTaskResponse)
STREAM_EVENTS = Method("/taskmeter.v1.TaskService/StreamEvents", tasks.StreamEventsRequest, tasks.StreamEventsResponse)
UPDATE_TASK = Method("/taskmeter.v1.TaskService/UpdateTask", tasks.UpdateTaskRequest, tasks.UpdateTaskResponse)
DELETE_TASK = Method("/taskmeter.v1.TaskService/DeleteTask", tasks.DeleteTaskRequest, tasks.DeleteTaskResponse)
REPORT_PROGRESS = Method("/taskmeter.v1.TaskService/ReportProgress", tasks.ReportProgressRequest, tasks.ReportProgressResponse)
GET_METRICS_HISTORY = Method(
    "/taskmeter.v1.TaskService/GetMetricsHistory", tasks.GetMetricsHistoryRequest, tasks.GetMetricsHistoryResponse
)
GET_ITEM = Method("/taskmeter.v1.ItemService/GetItem", items.GetItemRequest, items.GetItemResponse)
LIST_ITEMS = Method("/taskmeter.v1.ItemService/ListItems", items.ListItemsRequest, items.ListItemsResponse)
GET_ITEM_STATS = Method("/taskmeter.v1.ItemService/GetItemStats", items.GetItemStatsRequest, items.GetItemStatsResponse)
GET_ITEM_HISTORY = Method("/taskmeter.v1.ItemService/GetItemHistory", items.GetItemHistoryRequest, items.GetItemHistoryResponse)
READ_FILE = Method("/taskmeter.v1.FileService/ReadFile", files.ReadFileRequest, files.ReadFileResponse)
PUT_QUEUE = Method("/taskmeter.v1.QueueService/PutQueue", queues.PutQueueRequest, queues.PutQueueResponse)
LIST_QUEUES = Method("/taskmeter.v1.QueueService/ListQueues", queues.ListQueuesRequest, queues.ListQueuesResponse)
PAUSE_QUEUE = Method("/taskmeter.v1.QueueService/PauseQueue", queues.PauseQueueRequest, queues.PauseQueueResponse)
RESUME_QUEUE = Method("/taskmeter.v1.QueueService/ResumeQueue", queues.ResumeQueueRequest, queues.ResumeQueueResponse)
DELETE_QUEUE = Method("/taskmeter.v1.QueueService/DeleteQueue", queues.DeleteQueueRequest, queues.DeleteQueueResponse)
PUT_SCHEDULE = Method("/taskmeter.v1.ScheduleService/PutSchedule", schedules.PutScheduleRequest, schedules.PutScheduleResponse)
LIST_SCHEDULES = Method(
    "/taskmeter.v1.ScheduleService/ListSchedules", schedules.ListSchedulesRequest, schedules.ListSchedulesResponse
)
GET_SCHEDULE = Method("/taskmeter.v1.ScheduleService/GetSchedule", schedules.GetScheduleRequest, schedules.GetScheduleResponse)
PAUSE_SCHEDULE = Method(
    "/taskmeter.v1.ScheduleService/PauseSchedule", schedules.PauseScheduleRequest, schedules.PauseScheduleResponse
)
RESUME_SCHEDULE = Method(
    "/taskmeter.v1.ScheduleService/ResumeSchedule", schedules.ResumeScheduleRequest, schedules.ResumeScheduleResponse
)
DELETE_SCHEDULE = Method(
    "/taskmeter.v1.ScheduleService/DeleteSchedule", schedules.DeleteScheduleRequest, schedules.DeleteScheduleResponse
)
RUN_SCHEDULE = Method("/taskmeter.v1.ScheduleService/RunSchedule", schedules.RunScheduleRequest, schedules.RunScheduleResponse)
GET_SERVER_INFO = Method("/taskmeter.v1.AdminService/GetServerInfo", admin.GetServerInfoRequest, admin.GetServerInfoResponse)
DRAIN = Method("/taskmeter.v1.AdminService/Drain", admin.DrainRequest, admin.DrainResponse)
CREATE_KEY = Method("/taskmeter.v1.AdminService/CreateKey", admin.CreateKeyRequest, admin.CreateKeyResponse)
REVOKE_KEY = Method("/taskmeter.v1.AdminService/RevokeKey", admin.RevokeKeyRequest, admin.RevokeKeyResponse)
LIST_KEYS = Method("/taskmeter.v1.AdminService/ListKeys", admin.ListKeysRequest, admin.ListKeysResponse)
