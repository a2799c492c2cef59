-- For JobSubmitPlugins=lua of slurmctld: batch scripts of these partitions, QOS and accounts run through
-- glexec, and their users change nothing. docs/slurm.md says how.
--
-- A site that has a job_submit.lua installs this file under another name, and calls from its own functions
-- what dofile("/etc/slurm/glexec_submit.lua") gives: through_glexec(job_desc, part_list) and
-- into_glexec(job_desc, job_rec, part_list), each slurm.SUCCESS or slurm.ERROR.

local through = {
    partition = { "glexec" },
    qos = {},
    account = {},
}
-- What becomes there of jobs that have no script (srun, salloc, a heterogeneous job's further components):
-- "refuse" them, or "allow" them, whose users put the wrapper in front of their commands.
local without_script = "refuse"
local program = "/usr/libexec/glexec/glexec-slurm-script"

local function default_partition(part_list)
    for name, partition in pairs(part_list) do
        if partition.flag_default ~= 0 then
            return name
        end
    end
end

-- The first of these names, with commas between them, that stands in the list.
local function first(names, list)
    for name in string.gmatch(names or "", "[^,]+") do
        for _, listed in ipairs(list) do
            if name == listed then
                return name
            end
        end
    end
end

-- Which of a job's places has its scripts run through glexec, in words; nil where none has.
local function place(job, part_list)
    local of = {
        partition = job.partition or default_partition(part_list),
        qos = job.qos or job.default_qos,
        account = job.account or job.default_account,
    }
    for kind, list in pairs(through) do
        local found = first(of[kind], list)
        if found then
            return kind .. " " .. found
        end
    end
end

local function refuse(sentence)
    slurm.log_user("%s", sentence)
    return slurm.ERROR
end

local function through_glexec(job_desc, part_list)
    local where = place(job_desc, part_list)
    if not where then
        return slurm.SUCCESS
    end
    local script = job_desc.script
    if not script or script == "" then
        if without_script == "allow" then
            return slurm.SUCCESS
        end
        return refuse(where .. " takes batch scripts only: use sbatch")
    end
    if string.sub(script, 1, #program + 2) == "#!" .. program then
        return slurm.SUCCESS
    end
    if not string.match(script, "^#![ \t]*[^%s]") then
        return refuse("the script's first line names no interpreter: begin it with #!/bin/bash")
    end
    job_desc.script = "#!" .. program .. " " .. string.sub(script, 3)
    return slurm.SUCCESS
end

-- A script that is not run through glexec stays so: its job is not moved to where it should be.
local function into_glexec(job_desc, job_rec, part_list)
    local changed = job_desc.partition or job_desc.qos or job_desc.account
    local to = {
        partition = job_desc.partition or job_rec.partition,
        qos = job_desc.qos or job_rec.qos,
        account = job_desc.account or job_rec.account,
    }
    local where = changed and place(to, part_list)
    if where and not place(job_rec, part_list) then
        return refuse("a job is not moved to " .. where .. ": cancel it, and submit it there")
    end
    return slurm.SUCCESS
end

function slurm_job_submit(job_desc, part_list, submit_uid)
    return through_glexec(job_desc, part_list)
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    return into_glexec(job_desc, job_rec, part_list)
end

return { through_glexec = through_glexec, into_glexec = into_glexec }
